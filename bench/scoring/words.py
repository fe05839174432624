"""What must a reader of an outside score know? Notes on its videos, and the reasons why it may not be compared.

Everything is computed from what the steps left; a reason begins with "not comparable" and takes a record's mark of
comparability away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.assemble import video_notes
from bench.guards import likeness
from bench.scoring.frames import lossy, told
from bench.scoring.outputs import some
from bench.scoring.plan import Scored, SetPlan, shape_of
from bench.scoring.setting import Setting


@dataclass
class Words:
    """Notes and reasons, of one set of videos under one protocol; `health`: lines for health.json."""

    notes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    set_aside: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """Reasons first."""
        return [*(f"not comparable: {reason}" for reason in self.reasons), *self.notes]


def read(folder: Path | None, name: str) -> Any:
    """A JSON file of an artifact; None without artifact or file."""
    path = folder / name if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else None


def reference_notes(folder: Path | None) -> list[str]:
    """Notes on the real videos of a `clips` artifact."""
    notes, aside, items = (read(folder, name) or [] for name in ("notes.json", "set_aside.json", "items.json"))
    return video_notes(notes, aside, items)


def words_of(setting: Setting, scored: Scored) -> Words:
    """What is to be said of one record's videos."""
    of, name = scored.of, scored.protocol.name
    if scored.notes is not None:
        return Words(list(scored.notes))
    real = reference_notes(setting.artifact(of.clips[name])) if name in of.clips else []
    return Words(real) if scored.system.role == "baseline" else _outside(setting, scored, real)


def _outside(setting: Setting, scored: Scored, real: Sequence[str]) -> Words:
    of, name, shape = scored.of, scored.protocol.name, shape_of(scored.protocol)
    folder, values = setting.artifact(of.collect[name]), scored.protocol.config["values"]
    items = read(folder, "items.json") or []
    said = Words([*of.matched.notes, *told(items, shape)])
    _of_conditions(of, values, said)
    _of_matching(of, read(folder, "matching.json") or {}, said)
    of_files(of.dataset, items, read(folder, "set_aside.json") or [], said)
    _of_likeness(read(setting.artifact(of.alike[name]), "alike.json") or {}, len(items), said)
    said.notes += real
    return said


def of_files(dataset: str, items: Sequence[Mapping[str, Any]], aside: Sequence[Mapping[str, Any]], said: Words) -> None:
    """What became of the files themselves: set aside, damaged, changed by a codec."""
    said.set_aside += [{"dataset": dataset, **bad} for bad in aside]
    if said.set_aside:
        named = some([f"{bad['path']} ({bad['reason']})" for bad in said.set_aside])
        said.reasons.append(f"{len(said.set_aside)} videos could not be scored and were set aside: {named}")
    for item in items:
        damage = "; ".join(note for note in item["notes"] if "looped" not in note)
        if damage:
            said.damaged.append({"dataset": dataset, "id": item["id"], "reason": damage})
    if said.damaged:
        said.notes.append(f"{len(said.damaged)} videos are damaged, used: {some([b['id'] for b in said.damaged])}")
    changed = lossy(items)
    if changed:
        said.reasons.append(
            f"{changed}; the protocol scores frames that no codec has changed (PNG folders, FFV1 in RGB)"
        )


def _of_conditions(of: SetPlan, values: Mapping[str, Any], said: Words) -> None:
    """Whether what was animated is what the protocol asks for."""
    if of.conditions is not None:
        said.reasons += [*of.conditions.problems, *of.conditions.disagreements(values)]
        said.notes.append(f"conditions {of.conditions.hash[:12]}, exported under {of.conditions.protocol}")
    elif of.reference is None:
        said.reasons.append("the videos are the user's own choice: no reference and no conditions of the protocol")
    if of.reference is not None and not of.matched.paired:
        said.reasons.append("generated and real videos are not of the same ids, so they were not made from its frames")


def _of_matching(of: SetPlan, matching: Mapping[str, list[str]], said: Words) -> None:
    answered = {item.id for item in of.matched.items}
    asked = [c.id for c in of.conditions.items] if of.conditions and of.reference is None else []
    missing = matching.get("missing") or [one for one in asked if one not in answered]
    of_matching(of.dataset, missing, [*of.matched.extra, *(matching.get("extra") or [])], said)


def of_matching(dataset: str, missing: Sequence[str], extra: Sequence[str], said: Words) -> None:
    """Videos that were to be made and are not there, and those that nobody asked for."""
    if missing:
        said.reasons.append(f"{len(missing)} of the videos that were to be made are not there: {some(missing)}")
        said.missing += [{"dataset": dataset, "id": one, "reason": "no video of this id"} for one in missing]
    if extra:
        said.notes.append(f"{len(extra)} videos are none of those that were to be made and are left out: {some(extra)}")


def _of_likeness(alike: Mapping[str, list[Any]], count: int, said: Words) -> None:
    """What a run says of its own videos, and whether other pictures than the protocol's were animated."""
    seen = likeness(alike, count)
    said.reasons += seen.reasons
    said.notes += seen.notes
    if alike.get("inputs"):
        said.reasons.append(f"{len(alike['inputs'])} inputs are not the first frame of their reference clip: "
                            f"{some(alike['inputs'])}")  # fmt: skip
