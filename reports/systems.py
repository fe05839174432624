"""Which other systems does a run compare with, and which of them has no numbers?

Source: spec.json of the run folder: `overrides` with the key `system`, and `empty` {variant: why it has no numbers}.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.load import Run, mapping, text


@dataclass(frozen=True)
class System:
    """A row of a question about other systems; `system` is the name that the spec gives it, '' for a variant."""

    label: str
    variant: str = ""
    system: str = ""
    question: str = ""  # that has the row
    absent: str = ""  # why it has no numbers


def systems_asked(run: Run) -> list[System]:
    """The rows of the run's first question that compares with other systems; [] without one."""
    for asked, told in mapping(run.spec.get("questions")).items():
        question = mapping(told)
        empty = mapping(question.get("empty"))
        rows = [
            System(
                text(mapping(about).get("label")) or name,
                name,
                text(mapping(mapping(about).get("overrides")).get("system")),
                asked,
                text(empty.get(name)),
            )
            for name, about in mapping(question.get("variants")).items()
        ]
        if any(row.system for row in rows):
            return rows
    return []
