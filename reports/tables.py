"""Which numbers stand beside each other? Records -> tables in the paper's layout, and table.csv.

A table holds one world and one protocol; a column holds one dataset, metric and feature network. Published
numbers get columns of their own. Best and second best are marked only where the intervals say so.
Source: row labels and columns of arXiv:2310.12190's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean

from reports import words
from reports.charts import bulk
from reports.load import Claim, Run, load, mapping, text
from reports.paper import Paper, paper
from reports.record import Record
from reports.spreadsheet import csv_text

FULL = "full"  # the variant every question is asked of
METRICS = ("fvd", "kvd", "pic")  # the paper's order; others follow
DATASETS = ("ucf101", "msrvtt")


@dataclass(frozen=True)
class Column:
    """One dataset, metric and feature network; `low`..`high` is the range of most variants, for strips."""

    dataset: str
    metric: str
    features: str
    digits: int = 2
    low: float = 0.0
    high: float = 0.0

    @property
    def head(self) -> str:
        """'FVD (tiny-i3d)': metric and feature network."""
        return f"{words.metric_name(self.metric)} ({self.features})"


@dataclass(frozen=True)
class Cell:
    """A number with its interval, the seeds behind it, and 'best', 'second' or '' in its column."""

    value: float | None
    low: float | None
    high: float | None
    level: float | None
    interval: str
    seeds: tuple[tuple[int, float], ...]
    n: int
    comparable: bool
    notes: tuple[str, ...]
    mark: str = ""
    marks: tuple[int, ...] = ()  # numbers of the table's notes

    def numbers(self) -> list[float]:
        """Every number the cell shows: value, ends of the interval, single seeds; none of them null."""
        ends = [self.value, self.low, self.high]
        return [value for value in ends if value is not None] + [value for _, value in self.seeds]


@dataclass(frozen=True)
class Row:
    """A variant or baseline: a cell per column (None: not measured), then the paper's numbers as printed."""

    variant: str
    label: str
    role: str
    cells: tuple[Cell | None, ...]
    published: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Group:
    """The rows of one question, or the baselines, under a line of their own."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Rows of one world and protocol. `notes` are numbered from 1; `general` hold for the whole table."""

    title: str
    world: str
    protocol: str
    columns: tuple[Column, ...]
    published: tuple[tuple[str, str], ...]  # (dataset, metric) of the other world's columns
    source: str  # of the published columns
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    general: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups, from top to bottom."""
        return [row for group in self.groups for row in group.rows]

    def datasets(self) -> list[tuple[str, int]]:
        """(dataset, how many columns) from left to right, for the upper head."""
        return [(name, len(list(run))) for name, run in groupby(self.columns, key=lambda c: c.dataset)]

    def published_datasets(self) -> list[tuple[str, int]]:
        """As `datasets`, for the published columns."""
        return [(name, len(list(run))) for name, run in groupby(self.published, key=lambda c: c[0])]

    @property
    def cells(self) -> list[Cell]:
        """Every cell with a measurement in it."""
        return [cell for row in self.rows for cell in row.cells if cell is not None]

    @property
    def intervals(self) -> list[str]:
        """What the intervals cover, in the records' own words, each once."""
        return list(dict.fromkeys(cell.interval for cell in self.cells if cell.interval))

    @property
    def daggered(self) -> bool:
        """Whether a cell bears the mark of too few videos."""
        return not all(cell.comparable for cell in self.cells)


Key = tuple[str, str, str, str, str]  # question, variant, dataset, metric, features


def ablation_tables(run: Run) -> list[Table]:
    """The ablation table of each (world, protocol) in the run, the largest first."""
    scorings: dict[tuple[str, str], list[Record]] = {}
    for record in run.records:
        scorings.setdefault((record.world, record.protocol), []).append(record)
    ordered = sorted(scorings.items(), key=lambda item: -len(item[1]))
    return [_ablation(run, world, protocol, records) for (world, protocol), records in ordered]


def comparison_table(table: Table) -> Table:
    """The paper's comparison with other systems: its rows, and beside them those of `table` of that name."""
    published, ours = paper().comparison, {row.label: row for row in reversed(table.rows)}
    empty: tuple[Cell | None, ...] = tuple(None for _ in table.columns)
    columns = tuple(sorted(published.columns(), key=lambda key: _order(*key)))
    rows = []
    for entry in published.rows:
        cells = ours[entry.label].cells if entry.label in ours else empty
        cells = tuple(replace(cell, mark="", marks=()) if cell else None for cell in cells)
        rows.append(Row("", entry.label, "variant", cells, tuple(entry.values.get(key) for key in columns)))
    return replace(
        table,
        title=published.title,
        published=columns,
        source=published.source,
        groups=(Group("", tuple(rows)),),
        notes=(),
        general=(),
    )


def _ablation(run: Run, world: str, protocol: str, records: list[Record]) -> Table:
    cells = _cells(records)
    columns = _columns(records)
    published = tuple(sorted(paper().ablation.columns(), key=lambda key: _order(*key)))
    labels = {(r.question, r.variant): (r.label, r.role) for r in records}
    rows = {
        key: Row(
            key[1],
            label,
            role,
            tuple(cells.get((*key, c.dataset, c.metric, c.features)) for c in columns),
            _published(paper(), label, role, published),
        )
        for key, (label, role) in labels.items()
    }
    groups = _groups(run, rows)
    table = Table("Ablation", world, protocol, tuple(columns), published, paper().ablation.source, groups)
    return _with_notes(_with_marks(_with_digits(table), run.claims))


def _published(source: Paper, label: str, role: str, columns: Iterable[tuple[str, str]]) -> tuple[str | None, ...]:
    return tuple(source.ablation.value(label, *key) if role == "variant" else None for key in columns)


def _order(dataset: str, metric: str) -> tuple[int, str, int, str]:
    """Sort key: the paper's datasets and metrics in its order, then the rest by name."""

    def place(name: str, known: Sequence[str]) -> int:
        return known.index(name) if name in known else len(known)

    return place(dataset, DATASETS), dataset, place(metric, METRICS), metric


def _columns(records: Iterable[Record]) -> list[Column]:
    found = {(r.dataset, r.metric, r.features) for r in records}
    return [Column(*key) for key in sorted(found, key=lambda key: (_order(key[0], key[1]), key[2]))]


def _cells(records: Iterable[Record]) -> dict[Key, Cell]:
    """Seeds and their mean, by what they measure. ValueError when one seed is there twice."""
    grouped: dict[Key, dict[int | None, Record]] = {}
    for r in records:
        seeds = grouped.setdefault((r.question, r.variant, r.dataset, r.metric, r.features), {})
        if r.seed in seeds:
            raise ValueError(
                f"records.jsonl: {r.question}/{r.variant}/{r.dataset}/{r.metric}/{r.features} "
                f"under {r.protocol} has seed {r.seed} twice"
            )
        seeds[r.seed] = r
    return {key: _cell(seeds) for key, seeds in grouped.items()}


def _cell(by_seed: dict[int | None, Record]) -> Cell:
    single = [
        record
        for seed, record in sorted(by_seed.items(), key=lambda i: -1 if i[0] is None else i[0])
        if seed is not None
    ]
    seeds = tuple((r.seed, r.value) for r in single if r.seed is not None and r.value is not None)
    head = by_seed.get(None) or single[0]
    cell = Cell(head.value, head.low, head.high, head.level, head.interval, seeds, head.n, head.comparable, head.notes)
    if None in by_seed or len(by_seed) == 1:
        return cell
    mean = fmean(value for _, value in seeds) if seeds else None
    note = "Mean over the seeds computed for this report: the run gives no interval over seeds."
    return replace(cell, value=mean, low=None, high=None, level=None, interval="", notes=(*cell.notes, note))


def _groups(run: Run, rows: dict[tuple[str, str], Row]) -> tuple[Group, ...]:
    """A group per question, each row once (the full model is in all), the baselines apart at the end."""
    questions = mapping(run.spec.get("questions"))
    order = [*questions, *[q for q, _ in rows if q not in questions]]
    shown: set[tuple[str, tuple[Cell | None, ...]]] = set()
    groups = []
    for question in dict.fromkeys(order):
        known = list(mapping(mapping(questions.get(question)).get("variants")))
        mine = [row for (q, _), row in rows.items() if q == question and row.role == "variant"]
        mine.sort(key=lambda row: (row.variant != FULL, known.index(row.variant) if row.variant in known else 99))
        fresh = [row for row in mine if (row.label, row.cells) not in shown]
        shown.update((row.label, row.cells) for row in fresh)
        groups.append(Group(text(mapping(questions.get(question)).get("question")) or question, tuple(fresh)))
    baselines = tuple(dict.fromkeys(row for row in rows.values() if row.role == "baseline"))
    groups.append(Group("Baselines, made from real clips without a model", _merged(baselines)))
    return tuple(group for group in groups if group.rows)


def _merged(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Baselines of the same name that fill different columns (questions on different datasets) in one row."""
    merged: dict[str, Row] = {}
    for row in rows:
        first = merged.get(row.variant)
        if first is None:
            merged[row.variant] = row
            continue
        cells = tuple(old if old is not None else new for old, new in zip(first.cells, row.cells, strict=True))
        merged[row.variant] = replace(first, cells=cells)
    return tuple(merged.values())


def _with_digits(table: Table) -> Table:
    columns = []
    for index, column in enumerate(table.columns):
        every = [row.cells[index] for row in table.rows]
        mine = [row.cells[index] for row in table.rows if row.role == "variant"] or every
        cells = [cell for cell in mine if cell is not None]
        groups = [cell.numbers() for cell in cells]
        numbers = [value for group in groups for value in group]
        widths = [(c.high - c.low) / 2 for c in cells if c.low is not None and c.high is not None]
        digits = words.places(numbers, widths)
        low, high = bulk(groups)
        columns.append(replace(column, digits=digits, low=low, high=high))
    return replace(table, columns=tuple(columns))


def better(metric: str, a: Cell, b: Cell) -> bool:
    """Whether a's whole interval is on the better side of b's."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    lower = words.LOWER_IS_BETTER.get(metric)
    return lower is not None and (a.high < b.low if lower else a.low > b.high)


def _with_marks(table: Table, claims: Sequence[Claim]) -> Table:
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


def _with_notes(table: Table) -> Table:
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


CSV_HEAD = (
    "question",
    "variant",
    "label",
    "role",
    "dataset",
    "metric",
    "features",
    "protocol",
    "world",
    "seed",
    "value",
    "low",
    "high",
    "level",
    "interval",
    "n",
    "comparable",
    "notes",
    "published",
    "published_source",
)


def table_csv(run: Run) -> str:
    """Every record on a line, seed empty for the mean over seeds, the paper's number in its own column."""
    rows = []
    for r in run.records:
        printed = paper().value(r.label, r.dataset, r.metric) if r.role == "variant" else None
        rows.append(
            (
                r.question,
                r.variant,
                r.label,
                r.role,
                r.dataset,
                r.metric,
                r.features,
                r.protocol,
                r.world,
                r.seed,
                r.value,
                r.low,
                r.high,
                r.level,
                r.interval,
                r.n,
                r.comparable,
                " ".join(r.notes),
                printed,
                paper().source if printed else None,
            )
        )
    return csv_text(CSV_HEAD, rows)


def write_csv(run: Run | Path) -> Path:
    """Writes table.csv into the run folder (given as such, or as read) and returns its path."""
    read = load(run) if isinstance(run, Path) else run
    path = read.folder / "table.csv"
    path.write_bytes(table_csv(read).encode("utf-8"))
    return path
