"""What does a page show of one run? Everything computed here; the templates only place it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import cost, glossary, repeat, story, words
from reports.against import against_figure
from reports.applications import Applications, applications
from reports.cells import Sheet, Table
from reports.charts import Figure
from reports.curves import curve_figures, lambda_figure, lambda_sheet
from reports.dialects import dialect_figure
from reports.export import table_csv
from reports.figures import glance, variant_labels
from reports.forest import forest_figure
from reports.health import Health, health
from reports.load import Run
from reports.sampled import Sampled, sampled
from reports.samples import Grid, grids
from reports.tables import ablation_tables, comparison_table, extra_tables
from reports.userstudy import UserStudy, study_figure, user_study
from reports.verdicts import QuestionClaims, again, claims_by_question, untested


@dataclass(frozen=True)
class Chapter:
    """All that the templates show of one run."""

    run: Run
    key: str  # prefix of ids on the page
    world: str
    n: str
    seeds: str
    asked: list[tuple[str, str]]
    outcome: list[str]
    compared: list[glossary.Compared]
    metrics: list[tuple[str, str]]
    setting: str
    tables: list[Table]  # under the run's own protocol, one per world
    others: list[Table]  # the same videos under other protocols
    extras: list[Table]
    comparison: Table | None
    study: UserStudy | None
    claims: list[QuestionClaims]
    again: tuple[list[str], list[tuple[str, ...]]]  # verdicts by protocol
    untested: list[str]
    health: Health
    grids: list[Grid]
    figures: dict[str, list[Figure]]
    sampled: list[Sampled]
    applications: list[Applications]
    layers: Sheet | None  # λ of each, as learned
    costs: list[tuple[str, ...]]
    spent: str
    repeat: dict[str, object]
    csv: dict[str, str]  # name -> CSV text of what is no figure

    @property
    def every_figure(self) -> list[Figure]:
        """All figures, in the order of the page."""
        found = [figure for figures in self.figures.values() for figure in figures]
        return [*found, *(one.figure for one in self.sampled)]


def chapter(run: Run, key: str) -> Chapter:
    """Everything that the templates show of a run; `key` is the prefix of its ids."""
    labels = variant_labels(run) | {r.variant: r.label for r in run.records if r.role == "baseline"}
    every, extras = ablation_tables(run), extra_tables(run)
    tables = [table for table in every if table.protocol == run.protocol]
    n, seeds = story.counts(run.records)
    shown = grids(run, labels)
    return Chapter(
        run=run,
        key=key,
        world=story.world_words(run),
        n=n,
        seeds=seeds,
        asked=story.asked(run),
        outcome=story.outcome(run, tables),
        compared=glossary.compared(run),
        metrics=glossary.metrics(run),
        setting=glossary.setting(run),
        tables=tables,
        others=[table for table in every if table.protocol != run.protocol],
        extras=extras,
        comparison=comparison_table(run, tables[0]) if tables else None,
        study=user_study(run),
        claims=claims_by_question(run),
        again=again(run),
        untested=[claim.sentence for claim in untested(run)],
        health=health(run),
        grids=shown,
        figures=_figures(run, tables, extras, key),
        sampled=sampled(run),
        applications=applications(run, shown),
        layers=lambda_sheet(run),
        costs=cost.cost_rows(run),
        spent=spent(run),
        repeat=_repeat(run),
        csv={"table": table_csv(run), "steps": repeat.steps_csv(run)},
    )


def _figures(run: Run, tables: Sequence[Table], extras: Sequence[Table], key: str) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure | None]] = {
        "glance": [glance(run, table, f"{key}-glance{place or ''}") for place, table in enumerate(_whole(tables))],
        "extras": [glance(run, table, f"{key}-extra", "The other metrics at a glance") for table in extras[:1]],
        "study": [study_figure(run)],
        "claims": [forest_figure(run)],
        "evidence": [against_figure(run), dialect_figure(run)],
        "curves": [*curve_figures(run)],
        "lambda": [lambda_figure(run)],
        "costs": [cost.cost_figure(run)],
    }
    return {name: [figure for figure in figures if figure is not None] for name, figures in found.items()}


def _whole(tables: Sequence[Table]) -> Sequence[Table]:
    """The tables of the questions with all videos; those with fewer have pictures of their own."""
    return [table for table in tables if table.cap is None] or tables


def _repeat(run: Run) -> dict[str, object]:
    return {
        "command": repeat.command(run),
        "facts": repeat.facts(run),
        "packages": repeat.packages(run),
        "inputs": repeat.inputs(run),
        "protocols": repeat.protocols(run),
        "questions": repeat.questions(run),
        "profile": repeat.profile(run),
        "steps": repeat.steps(run),
    }


def spent(run: Run) -> str:
    """'23 min 10 s from start to end on 2 cores, 1.5 GB at most.'; '' where nothing is known."""
    about, parts = run.environment, []
    seconds, cores, memory = (about.get(key) for key in ("seconds", "cores", "peak_memory_mb"))
    if isinstance(seconds, int | float):
        parts.append(f"{words.seconds(seconds)} from start to end")
    if isinstance(cores, int):
        parts.append(f"on {words.count(cores, 'core')}")
    said = " ".join(parts)
    if isinstance(memory, int | float):
        said += f"{', ' if said else ''}{words.megabytes(memory)} at most"
    return f"{said}." if said else ""
