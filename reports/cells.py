"""What is a table made of? Columns, cells, rows, groups: plain data that templates and figures read.

A table holds one world, one protocol and one number of videos; a column holds one dataset, metric and feature network.
Published numbers get columns of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from reports import words

FULL = "full"  # the variant every question is asked of


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
    """A variant or baseline: a cell per column (None: not measured), then the paper's numbers as printed.

    `absent`: why it has no numbers at all, '' where it has some.
    """

    variant: str
    label: str
    role: str
    cells: tuple[Cell | None, ...]
    published: tuple[str | None, ...] = ()
    absent: str = ""


@dataclass(frozen=True)
class Group:
    """The rows of one question, or the baselines, under a line of their own."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sheet:
    """The numbers behind a picture, in words, as both pages print them."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Table:
    """Rows of one world, protocol and number of videos.

    `notes` are numbered from 1; `general` hold for the whole table.
    """

    title: str
    world: str
    protocol: str
    columns: tuple[Column, ...]
    published: tuple[tuple[str, str], ...]  # (dataset, metric) of the other world's columns
    source: str  # of the published columns
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    counted: str = ""  # "192 videos per variant and dataset, 3 training seeds"
    cap: int | None = None  # videos of each dataset, where its questions were given fewer than the run's others

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
    def told_intervals(self) -> list[str]:
        """`intervals`, each with the columns and kinds of rows that it is of: 'UCF-101 FVD, variants: 95 % ...'."""
        found: dict[str, dict[str, dict[str, list[str]]]] = {}  # sentence -> role -> dataset -> metrics
        for row in self.rows:
            for column, cell in zip(self.columns, row.cells, strict=True):
                if cell is not None and cell.interval:
                    metrics = found.setdefault(cell.interval, {}).setdefault(row.role, {})
                    names = metrics.setdefault(words.dataset_name(column.dataset), [])
                    names += [name for name in [words.metric_name(column.metric)] if name not in names]
        return [
            f"{'; '.join(f'{_places(places)}, {role}s' for role, places in roles.items())}: {said}"
            for said, roles in found.items()
        ]

    @property
    def daggered(self) -> bool:
        """Whether a cell bears the mark of too few videos."""
        return not all(cell.comparable for cell in self.cells)


def _places(places: dict[str, list[str]]) -> str:
    """{'UCF-101': ['FVD', 'KVD']} -> 'UCF-101 FVD and KVD'."""
    return words.listed([f"{dataset} {words.listed(metrics)}" for dataset, metrics in places.items()])
