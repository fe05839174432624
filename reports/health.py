"""What was damaged, missing, set aside or not comparable, and is the world alive? health.json in words."""

from __future__ import annotations

from dataclasses import dataclass

from reports import words
from reports.load import Json, Run, items, mapping, number, text

KINDS = (
    ("damaged", "damaged"),
    ("missing", "missing"),
    ("set_aside", "set aside"),
    ("not_comparable", "not comparable"),
)


@dataclass(frozen=True)
class Health:
    """Counts with the lines behind them: (what, how many, lines). `fine` when nothing is wrong.

    `whole` are the notes on the run as a whole (plain text in health.json); `notes` are those on single videos
    and on files that the run lacks.
    """

    lines: tuple[tuple[str, int, tuple[str, ...]], ...]
    whole: tuple[str, ...]
    notes: tuple[str, ...]
    alive: tuple[tuple[str, str, str, bool], ...]  # check, value, target, reached

    @property
    def fine(self) -> bool:
        """Whether nothing was damaged, missing, set aside or not comparable."""
        return not any(number for _, number, _ in self.lines)

    @property
    def reached(self) -> int:
        """How many checks of the world's being alive reached their target."""
        return sum(reached for *_, reached in self.alive)


def health(run: Run) -> Health:
    """From health.json; what is not comparable also from the records themselves."""
    lines = []
    for key, name in KINDS:
        found = [words.item_words(item) for item in items(run.health.get(key))]
        if key == "not_comparable" and not found:
            found = _not_comparable(run)
        lines.append((name, len(found), tuple(found)))
    alive = tuple(_alive(mapping(check)) for check in items(run.health.get("alive")))
    found_notes = items(run.health.get("notes"))
    whole = tuple(dict.fromkeys(note for note in found_notes if isinstance(note, str)))
    notes = tuple(words.item_words(note) for note in found_notes if not isinstance(note, str))
    return Health(tuple(lines), whole, notes + tuple(run.absent), alive)


def _not_comparable(run: Run) -> list[str]:
    keys = dict.fromkeys((r.dataset, r.metric, r.features, r.protocol) for r in run.records if not r.comparable)
    return [f"{words.dataset_name(d)}: {words.metric_name(m)} ({f}), protocol {p}" for d, m, f, p in keys]


def _alive(check: Json) -> tuple[str, str, str, bool]:
    said = text(check.get("words")) or text(check.get("check"))
    return said, _value(check.get("value")), _value(check.get("target")), check.get("reached") is True


def _value(value: object) -> str:
    plain = number(value)
    return (
        words.DASH if value is None else f"{plain:.3g}".replace("-", words.MINUS) if plain is not None else text(value)
    )
