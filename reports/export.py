"""Which file holds every number? table.csv: each record on a line, the paper's number beside it."""

from __future__ import annotations

from pathlib import Path

from reports.files import write_text
from reports.load import Run, load
from reports.paper import paper
from reports.spreadsheet import csv_text

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
    write_text(path, table_csv(read))
    return path
