"""What did the paper publish? Reads paper.yaml: numbers as printed there (text, never rounded again).

Source: arXiv:2310.12190; every table in the file names where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from reports.load import Json, items, mapping, text
from reports.spreadsheet import csv_text

PAPER = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table; `values` maps (dataset, metric) to the number as printed."""

    label: str
    values: dict[tuple[str, str], str]


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper: its title, where it stands, and its rows in the printed order."""

    title: str
    source: str
    rows: tuple[PublishedRow, ...]

    def value(self, label: str, dataset: str, metric: str) -> str | None:
        """The number as printed, or None where the paper gives none."""
        found = [row.values.get((dataset, metric)) for row in self.rows if row.label == label]
        return found[0] if found else None

    def columns(self) -> list[tuple[str, str]]:
        """(dataset, metric) of every column with a number in it, in the order of the file."""
        return list(dict.fromkeys(key for row in self.rows for key in row.values))


@dataclass(frozen=True)
class PublishedClaim:
    """A sentence that the paper's ablation table supports, with the metric that shows it."""

    sentence: str
    metric: str
    better: tuple[str, ...]  # variants, best first


@dataclass(frozen=True)
class Paper:
    """All of paper.yaml."""

    title: str
    source: str
    world: str
    comparison: PublishedTable
    ablation: PublishedTable
    user_study: Json
    claims: tuple[PublishedClaim, ...]
    citations: tuple[tuple[str, str], ...]  # (words, BibTeX)
    labels: dict[str, str]  # variant -> label in the ablation table

    def value(self, label: str, dataset: str, metric: str) -> str | None:
        """From the ablation table, else from the comparison."""
        found = self.ablation.value(label, dataset, metric)
        return found if found is not None else self.comparison.value(label, dataset, metric)


@lru_cache(maxsize=1)
def paper() -> Paper:
    """The published numbers, read once."""
    data = mapping(yaml.safe_load(PAPER.read_text(encoding="utf-8")))
    about, tables = mapping(data["paper"]), mapping(data["tables"])
    claims = [mapping(item) for item in items(data["claims"])]
    ablation = [mapping(row) for row in items(mapping(tables["ablation"])["rows"])]
    return Paper(
        title=text(about["title"]),
        source=text(about["source"]),
        world=text(about["world"]),
        comparison=_table(mapping(tables["comparison"])),
        ablation=_table(mapping(tables["ablation"])),
        user_study=mapping(data["user_study"]),
        claims=tuple(
            PublishedClaim(text(c["sentence"]), text(c["metric"]), tuple(map(text, items(c["better"])))) for c in claims
        ),
        citations=tuple(
            (text(mapping(c)["words"]), text(mapping(c)["bibtex"]).rstrip()) for c in items(data["citations"])
        ),
        labels={text(row["variant"]): text(row["label"]) for row in ablation},
    )


def published_csv() -> str:
    """Every published number on a line: table, row, dataset or criterion, metric, value as printed, where it stands."""
    source = paper()
    rows = [
        (table.title, row.label, dataset, metric, value, table.source)
        for table in (source.comparison, source.ablation)
        for row in table.rows
        for (dataset, metric), value in row.values.items()
    ]
    study = source.user_study
    for row in map(mapping, items(study.get("rows"))):
        for system, value in zip(items(study.get("systems")), items(row.get("values")), strict=True):
            rows.append(
                (text(study["title"]), text(system), "", text(row["label"]), text(value), text(study["source"]))
            )
    return csv_text(("table", "row", "dataset", "metric", "published", "source"), rows)


def _table(data: Json) -> PublishedTable:
    rows = []
    for row in map(mapping, items(data["rows"])):
        datasets = {name: mapping(value) for name, value in row.items() if isinstance(value, dict)}
        values = {(name, metric): text(v) for name, cells in datasets.items() for metric, v in cells.items()}
        rows.append(PublishedRow(text(row["label"]), values))
    return PublishedTable(text(data["title"]), text(data["source"]), tuple(rows))
