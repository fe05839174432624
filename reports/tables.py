"""Which numbers stand beside each other? Records -> tables in the paper's layout.

A table holds one world, one protocol and one number of videos (FVD falls with it: a question that was given fewer is in
a table with those of as many); a column holds one dataset, metric and feature network. Published numbers get columns of
their own, in the table of the questions with the most videos. The run's own protocol leads; what other protocols make
of the same videos, and metrics that the paper does not have, are tables of their own.
Source: row labels and columns of arXiv:2310.12190's tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from reports import words
from reports.cells import FULL, Cell, Column, Group, Row, Table
from reports.charts import bulk
from reports.load import Run, mapping, text
from reports.marks import with_marks, with_notes
from reports.paper import Paper, PublishedRow, paper
from reports.record import Record
from reports.story import counts
from reports.systems import System, systems_asked

METRICS = ("fvd", "kvd", "pic")  # the paper's, in its order
EXTRA = ("motion", "consistency", "alignment")  # beside them, in this order; others follow
DATASETS = ("ucf101", "msrvtt")

Key = tuple[str, str, str, str, str]  # question, variant, dataset, metric, features
Scoring = tuple[str, str, int | None]  # world, protocol, videos that a question was given; None: as many as the run


def ablation_tables(run: Run) -> list[Table]:
    """The paper's metrics: a table of each (world, protocol, number of videos), the run's own protocol first."""
    return [_ablation(run, key, records) for key, records in scorings(run, METRICS).items()]


def extra_tables(run: Run) -> list[Table]:
    """All other metrics, likewise; without the paper's numbers and without marks for the best."""
    title = "Metrics that the paper does not have"
    found = scorings(run, METRICS, others=True).items()
    return [_table(run, title, key, records, ()) for key, records in found]


def scorings(run: Run, metrics: Sequence[str], others: bool = False) -> dict[Scoring, list[Record]]:
    """The records of these metrics (or of all others) by world, protocol and number of videos.

    The run's own protocol is first, then the largest; of one protocol the most videos.
    """
    found: dict[Scoring, list[Record]] = {}
    size: dict[tuple[str, str], int] = {}
    for record in run.records:
        if (record.metric in metrics) != others:
            world = record.world, record.protocol
            found.setdefault((*world, run.cap(record.question)), []).append(record)
            size[world] = size.get(world, 0) + 1

    def place(key: Scoring) -> tuple[bool, int, int, bool, int]:
        world, cap = key[:2], key[2]
        return key[1] != run.protocol, -size[world], list(size).index(world), cap is not None, -(cap or 0)

    return {key: found[key] for key in sorted(found, key=place)}


def comparison_table(run: Run, table: Table) -> Table:
    """The paper's comparison with other systems: its rows, with those of `table` of that name beside them.

    Where a question of the run asks about other systems its rows lead, in its order: a row without numbers says what
    to give, and variants of the model stand in a group of their own.
    """
    published = paper().comparison
    columns = tuple(sorted(published.columns(), key=lambda key: _order(*key)))
    asked = systems_asked(run)
    printed = {entry.label: entry for entry in published.rows}
    systems = [one for one in asked if one.system or one.variant == FULL]
    others = [one for one in asked if one not in systems]
    named = [*systems, *(System(label) for label in printed if label not in {one.label for one in asked})]
    groups = (
        Group("", tuple(_compared(run, table, one, printed.get(one.label), columns) for one in named)),
        Group(words.WAYS_TITLE, tuple(_compared(run, table, one, None, columns) for one in others)),
    )
    made = replace(
        table,
        title=published.title,
        published=columns,
        source=published.source,
        groups=tuple(group for group in groups if group.rows),
        notes=(),
        general=(),
    )
    return with_marks(made, ())


def _compared(
    run: Run, table: Table, one: System, printed: PublishedRow | None, columns: Sequence[tuple[str, str]]
) -> Row:
    same = next((row for row in table.rows if row.label == one.label and row.role == "variant"), None)
    found = _own_cells(run, table, one) or (same.cells if same else ())
    if one.absent or not found:
        found = tuple(None for _ in table.columns)
    cells = tuple(replace(cell, mark="", marks=()) if cell else None for cell in found)
    values = tuple(printed.values.get(key) if printed else None for key in columns)
    return Row(one.variant or (same.variant if same else ""), one.label, "variant", cells, values, one.absent)


def _own_cells(run: Run, table: Table, one: System) -> tuple[Cell | None, ...]:
    """The variant's cells, by its question: others may have another model under the same label. () without any."""
    key = (one.question, one.variant, "variant", table.world, table.protocol)
    mine = [r for r in run.records if (r.question, r.variant, r.role, r.world, r.protocol) == key]
    if not mine or run.cap(one.question) != table.cap:
        return ()
    cells = _cells(mine)
    return tuple(cells.get((*key[:2], c.dataset, c.metric, c.features)) for c in table.columns)


def _ablation(run: Run, key: Scoring, records: list[Record]) -> Table:
    _, protocol, cap = key
    published = () if cap else tuple(sorted(paper().ablation.columns(), key=lambda key: _order(*key)))
    table = _table(run, "Ablation", key, records, published)
    judged = [
        claim
        for claim in run.claims
        if (claim.protocol or run.protocol) == protocol and run.cap(claim.question) == cap
    ]
    return with_marks(table, judged)


def _table(
    run: Run,
    title: str,
    key: Scoring,
    records: list[Record],
    published: tuple[tuple[str, str], ...],
) -> Table:
    world, protocol, cap = key
    cells = _cells(records)
    columns = _columns(records)
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
    source = paper().ablation.source
    groups, counted = _groups(run, rows), ", ".join(counts(records))
    table = Table(title, world, protocol, tuple(columns), published, source, groups, counted=counted, cap=cap)
    return with_notes(_with_digits(table))


def _published(source: Paper, label: str, role: str, columns: Iterable[tuple[str, str]]) -> tuple[str | None, ...]:
    return tuple(source.ablation.value(label, *key) if role == "variant" else None for key in columns)


def _order(dataset: str, metric: str) -> tuple[int, str, int, str]:
    """Sort key: the paper's datasets and metrics in its order, then the rest by name."""

    def place(name: str, known: Sequence[str]) -> int:
        return known.index(name) if name in known else len(known)

    return place(dataset, DATASETS), dataset, place(metric, (*METRICS, *EXTRA)), metric


def _columns(records: Iterable[Record]) -> list[Column]:
    found = {(r.dataset, r.metric, r.features) for r in records}
    return [Column(*key) for key in sorted(found, key=lambda key: (_order(key[0], key[1]), key[2]))]


def _cells(records: Iterable[Record]) -> dict[Key, Cell]:
    grouped: dict[Key, dict[int | None, Record]] = {}
    for r in records:
        seeds = grouped.setdefault((r.question, r.variant, r.dataset, r.metric, r.features), {})
        if r.seed in seeds:
            raise ValueError(f"records: {r.question}, {r.variant}, {r.dataset}, {r.metric} has seed {r.seed} twice")
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
    groups.append(Group(words.BASELINES_TITLE, _merged(baselines)))
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
