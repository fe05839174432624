"""Which number is best, and what must be said beside a number? Marks only where the intervals or a claim support them.

The best of a column is marked if it is apart from all others there, then the second if it is apart from the rest.
Two are apart when their intervals do not touch, or when a paired claim of the same protocol has set them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports import words
from reports.cells import Cell, Column, Row, Table
from reports.load import Claim


def better(metric: str, a: Cell, b: Cell) -> bool:
    """Whether a's whole interval is on the better side of b's."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    lower = words.LOWER_IS_BETTER.get(metric)
    return lower is not None and (a.high < b.low if lower else a.low > b.high)


def with_marks(table: Table, claims: Sequence[Claim]) -> Table:
    """The table with 'best' and 'second' on the cells that are; `claims` are those judged under its protocol."""
    marks: dict[tuple[Row, int], str] = {}
    for index, column in enumerate(table.columns):
        for row, mark in zip(_leaders(table, index, column, claims), ("best", "second"), strict=False):
            marks[row, index] = mark
    groups = tuple(
        replace(
            group,
            rows=tuple(
                replace(
                    row,
                    cells=tuple(
                        replace(cell, mark=marks.get((row, i), "")) if cell else None
                        for i, cell in enumerate(row.cells)
                    ),
                )
                for row in group.rows
            ),
        )
        for group in table.groups
    )
    return replace(table, groups=groups)


def _leaders(table: Table, index: int, column: Column, claims: Sequence[Claim]) -> list[Row]:
    """The best row if it is apart from all others, then the second if it is apart from the rest."""
    lower = words.LOWER_IS_BETTER.get(column.metric)
    present = [
        (row, cell.value)
        for row in table.rows
        if row.role == "variant" and (cell := row.cells[index]) is not None and cell.value is not None
    ]
    if lower is None or len(present) < 2:
        return []
    rows = [row for row, _ in sorted(present, key=lambda item: item[1] if lower else -item[1])]
    leaders: list[Row] = []
    for place, row in enumerate(rows[:-1][:2]):
        if not all(_apart(row, other, index, column, claims) for other in rows[place + 1 :]):
            break
        leaders.append(row)
    return leaders


def _apart(row: Row, other: Row, index: int, column: Column, claims: Sequence[Claim]) -> bool:
    a, b = row.cells[index], other.cells[index]
    if a is not None and b is not None and better(column.metric, a, b):
        return True
    judged = {(c.better, c.verdict) for c in claims if (c.dataset, c.metric) == (column.dataset, column.metric)}
    forward, backward = (row.variant, other.variant), (other.variant, row.variant)
    return (forward, "holds") in judged or (backward, "fails") in judged


def with_notes(table: Table) -> Table:
    """Says once what every cell of a column notes, and numbers the notes of single cells."""
    columns = [[row.cells[i] for row in table.rows if row.cells[i] is not None] for i in range(len(table.columns))]
    found = list(dict.fromkeys(note for cells in columns for cell in cells if cell for note in cell.notes))
    whole = {
        note: [i for i, cells in enumerate(columns) if cells and all(c and note in c.notes for c in cells)]
        for note in found
    }
    numbered = tuple(
        note
        for note in found
        if any(c and note in c.notes for i, cells in enumerate(columns) if i not in whole[note] for c in cells)
    )

    def noted(place: int, cell: Cell | None) -> Cell | None:
        if cell is None:
            return None
        own = [note for note in cell.notes if note in numbered and place not in whole[note]]
        return replace(cell, marks=tuple(numbered.index(note) + 1 for note in own))

    groups = tuple(
        replace(g, rows=tuple(replace(r, cells=tuple(noted(*c) for c in enumerate(r.cells))) for r in g.rows))
        for g in table.groups
    )
    general = tuple(_of_columns(table, whole[note]) + note for note in found if whole[note])
    return replace(table, groups=groups, notes=numbered, general=general)


def _of_columns(table: Table, places: Sequence[int]) -> str:
    """'UCF-101: ' for the columns that a note is about; nothing when it is about all."""
    names = []
    for dataset in dict.fromkeys(column.dataset for column in table.columns):
        of_set = [i for i, column in enumerate(table.columns) if column.dataset == dataset]
        mine = [i for i in of_set if i in places]
        metrics = words.listed([words.metric_name(table.columns[i].metric) for i in mine])
        if mine:
            names.append(words.dataset_name(dataset) + ("" if mine == of_set else f" {metrics}"))
    return "" if len(places) == len(table.columns) else f"{words.listed(names)}: "
