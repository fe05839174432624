"""How are scores printed? A line per number with its interval and protocol, and under the table what to know of it.

The same facts are in records.jsonl and on the page; nothing here is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasets.files import one_line
from reports import words
from reports.record import Record

HEAD = ("dataset", "videos of", "metric", "value", "95 % interval", "n", "features", "protocol", "comparable")
Row = Sequence[str]


def lines(rows: Sequence[Row], right: Sequence[int] = ()) -> list[str]:
    """Rows as aligned text, each cell on one line; columns in `right` are aligned at their right end."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(_pad(cell, widths[k], k in right) for k, cell in enumerate(row)).rstrip() for row in rows]


def _pad(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def score_table(records: Sequence[Record]) -> str:
    """A table of all records, and the notes under it; those that all share first."""
    if not records:
        return "no number could be computed: the notes say why"
    numbers = {note: place for place, note in enumerate(_notes(records), 1)}
    rows = [HEAD, *(_row(record, _digits(records, record), numbers) for record in records)]
    said = [f"  [{place}] {_whose(records, note)}{one_line(note)}" for note, place in numbers.items()]
    return "\n".join([*lines(rows, right=(3, 5)), *said])


def _row(record: Record, digits: int, numbers: Mapping[str, int]) -> Row:
    marks = ",".join(str(numbers[note]) for note in record.notes if note.startswith("not comparable"))
    comparable = "yes" if record.comparable else f"no [{marks}]" if marks else "no"
    return (
        words.dataset_name(record.dataset),
        record.label if record.seed is None else f"{record.label}, seed {record.seed}",
        f"{words.metric_name(record.metric)} {words.arrow(record.metric)}".strip(),
        words.decimal(record.value, digits),
        words.bracket(record.low, record.high, digits) or "none",
        str(record.n),
        record.features,
        record.protocol,
        comparable,
    )


def _digits(records: Iterable[Record], one: Record) -> int:
    """Decimals of one record's column: the same for everything of its metric, features and data set."""
    key = (one.metric, one.features, one.dataset)
    own = [r for r in records if (r.metric, r.features, r.dataset) == key]
    values = [r.value for r in own if r.value is not None]
    return words.places(values, [(r.high - r.low) / 2 for r in own if r.low is not None and r.high is not None])


def _notes(records: Iterable[Record]) -> list[str]:
    """Every note of a variant once, reasons against comparing first; those of baselines alone are left to the page."""
    found = dict.fromkeys(note for r in records if r.role == "variant" for note in r.notes)
    found |= dict.fromkeys(n for r in records for n in r.notes if n.startswith("not comparable"))
    return sorted(found, key=lambda note: not note.startswith("not comparable"))


def _whose(records: Sequence[Record], note: str) -> str:
    """'Motion: ', for a note that only one of several metrics has."""
    every = {r.metric for r in records}
    metrics = {r.metric for r in records if note in r.notes}
    return f"{words.metric_name(metrics.pop())}: " if len(metrics) == 1 < len(every) else ""
