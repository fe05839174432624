"""How does a run become a page? Run folders -> report.html (one file, offline) and report.md with its images.

Escaping is on in every template; captions and names are hostile input. The page carries a policy that forbids
every request: images, videos and data are inside it. Never imports torch.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup, escape

from reports import story, words
from reports.charts import Figure
from reports.curves import curve_figures, lambda_figure, layer_names
from reports.figures import colours, cost_figure, forest_figure, glance, variant_labels
from reports.load import Json, Run, items, load, mapping, number, text
from reports.paper import paper
from reports.samples import Grid, grids, sheet
from reports.spreadsheet import data_link
from reports.tables import Table, ablation_tables, comparison_table, table_csv, write_csv

TEMPLATES = Path(__file__).with_name("templates")
IMAGES = "report_files"  # beside report.md


@dataclass(frozen=True)
class Rendered:
    """Where the report lies."""

    html: Path
    markdown: Path


@dataclass(frozen=True)
class Chapter:
    """All that the templates show of one run."""

    run: Run
    key: str  # prefix of ids on the page
    outcome: list[str]
    tables: list[Table]
    comparison: Table | None
    claims: list[story.QuestionClaims]
    untested: list[str]
    health: story.Health
    grids: list[Grid]
    figures: dict[str, list[Figure]]
    protocols: dict[str, list[Json]]
    costs: list[tuple[str, ...]]


def render(run_dirs: Path | Sequence[Path], out: Path | None = None) -> Rendered:
    """Writes report.html, report.md and report_files/ into `out` (default: the folder of the first run).

    One run or several: each becomes a chapter, numbers of different runs never meet in a column. Also writes
    each run's table.csv. Raises ValueError naming file and line of a record that cannot be read.
    """
    folders = [run_dirs] if isinstance(run_dirs, Path) else list(run_dirs)
    if not folders:
        raise ValueError("report: no run folder given")
    runs = [load(folder) for folder in folders]
    target = out or folders[0]
    target.mkdir(parents=True, exist_ok=True)
    for run in runs:
        write_csv(run)
    chapters = [chapter(run, f"r{place}") for place, run in enumerate(runs, start=1)]
    context = {"chapters": chapters, "title": _title(runs), "paper": paper(), "words": words}
    _write(target / "report.html", html(context))
    _write(target / "report.md", markdown(context, chapters, target))
    return Rendered(target / "report.html", target / "report.md")


def chapter(run: Run, key: str) -> Chapter:
    """Everything computed; the templates only place it."""
    labels = variant_labels(run) | {r.variant: r.label for r in run.records if r.role == "baseline"}
    tables = ablation_tables(run)
    return Chapter(
        run=run,
        key=key,
        outcome=story.outcome(run, tables),
        tables=tables,
        comparison=comparison_table(tables[0]) if tables else None,
        claims=story.claims_by_question(run),
        untested=[claim.sentence for claim in story.untested(run)],
        health=story.health(run),
        grids=grids(run, labels),
        figures=_figures(run, tables, key),
        protocols={
            name: [mapping(f) for f in items(rows)] for name, rows in mapping(run.spec.get("protocols")).items()
        },
        costs=_costs(run),
    )


def _figures(run: Run, tables: Sequence[Table], key: str) -> dict[str, list[Figure]]:
    dots = [glance(run, table, f"{key}-glance{place or ''}") for place, table in enumerate(tables)]
    found: dict[str, list[Figure | None]] = {
        "glance": dots,
        "claims": [forest_figure(run)],
        "curves": [*curve_figures(run)],
        "lambda": [lambda_figure(run)],
        "costs": [cost_figure(run)],
    }
    return {name: [figure for figure in figures if figure is not None] for name, figures in found.items()}


def _costs(run: Run) -> list[tuple[str, ...]]:
    """Per kind of step, in words: kind, done, reused, time, time per step, CPU time, peak memory."""
    rows: list[tuple[str, ...]] = []
    for kind in dict.fromkeys(text(cost.get("kind")) for cost in run.costs):
        mine = [cost for cost in run.costs if text(cost.get("kind")) == kind]
        done = [cost for cost in mine if not cost.get("reused")]
        wall = sum(number(cost.get("seconds")) or 0 for cost in done)
        cpu = sum(number(cost.get("cpu_seconds")) or 0 for cost in done)
        peak = max((number(cost.get("peak_memory_mb")) or 0 for cost in mine), default=0)
        each = words.seconds(wall / len(done)) if done else words.DASH
        saved = sum(number(cost.get("seconds")) or 0 for cost in mine) - wall
        reused = f"{len(mine) - len(done)}" + (f" (saved {words.seconds(saved)})" if saved else "")
        rows.append(
            (
                kind,
                str(len(done)),
                reused,
                words.seconds(wall),
                each,
                words.seconds(cpu),
                words.megabytes(peak or None),
            )
        )
    return rows


def _title(runs: Sequence[Run]) -> str:
    worlds = list(dict.fromkeys(story.world_words(run) for run in runs))
    return f"DynamiCrafter, piece by piece: results of {words.listed(worlds)}"


def html(context: Mapping[str, object]) -> str:
    """The page. Style and script are inside and allowed by their hash; nothing else may run or load."""
    style = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("plot.css", "style.css"))
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template("report.html.j2")
    return page.render(**context, style=Markup(style), script=Markup(script), policy=policy) + "\n"


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def markdown(context: Mapping[str, object], chapters: Sequence[Chapter], target: Path) -> str:
    """The twin, with figures as SVG and samples as moving GIF in report_files/ beside it."""
    folder = target / IMAGES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images: dict[str, str] = {}
    for part in chapters:
        for figure in [figure for figures in part.figures.values() for figure in figures]:
            name = f"{part.key}-{figure.name.removeprefix(part.key + '-')}.svg"
            _write(folder / name, standalone(figure))
            images[part.key + figure.name] = f"{IMAGES}/{name}"
        for grid in part.grids:
            name = f"{part.key}-samples-{re.sub(r'[^A-Za-z0-9_-]', '_', grid.dataset)}.gif"
            if sheet(grid, folder / name):
                images[part.key + "samples" + grid.dataset] = f"{IMAGES}/{name}"
    page = _environment(finalize=escape_markdown).get_template("report.md.j2")
    return re.sub(r"\n{3,}", "\n\n", page.render(**context, images=images)).rstrip() + "\n"


def standalone(figure: Figure) -> str:
    """A figure as an SVG file of its own: its panels side by side, with colours for light and dark."""
    columns = 1 if len(figure.panels) == 1 or figure.panels[0].width > 500 else 3 if len(figure.panels) > 2 else 2
    width = max(panel.width for panel in figure.panels)
    height = max(panel.height for panel in figure.panels)
    placed = [(i % columns * width, i // columns * height, panel) for i, panel in enumerate(figure.panels)]
    rows = (len(figure.panels) + columns - 1) // columns
    size = (columns * width, rows * height)
    legend = [
        (12 + place % 5 * 150, size[1] + 14 + place // 5 * 18, css, label)
        for place, (css, label) in enumerate(figure.legend)
    ]
    full = size[1] + (24 + (len(figure.legend) - 1) // 5 * 18 if figure.legend else 0)
    template = _environment().get_template("figure.svg.j2")
    return (
        template.render(
            figure=figure, placed=placed, width=max(size[0], 720 if legend else 0), height=full, legend=legend
        )
        + "\n"
    )


@lru_cache(maxsize=2)
def _environment(**options: object) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,  # type: ignore[arg-type]  # jinja2 types each option apart
    )
    made.filters |= {
        "csv_link": data_link,
        "yaml": _yaml,
        "json": _json,
        "short": _short,
        "point": _point,
        "pre": escape,
        "fixed": Markup,
    }
    made.globals |= {
        "colours": colours,
        "layer_names": layer_names,
        "table_csv": table_csv,
        "published_words": story.published_words,
        "counts": story.counts,
    }
    return made


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).rstrip()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _short(value: object) -> str:
    """First twelve digits of a fingerprint."""
    return str(value)[:12]


def _point(value: float, low: float, high: float, width: float) -> float:
    """Where a value falls on a strip of `width` pixels with 4 pixels of margin."""
    return round(4 + (value - low) / (high - low) * (width - 8), 1) if high > low else width / 2


_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~$-])")


def escape_markdown(value: object) -> object:
    """What a template prints into Markdown: text without any power there; Markup passes as it is.

    HTML is escaped first, then every character that Markdown reads; addresses do not become links, mentions
    do not reach anyone, and line breaks turn into spaces so that a table row stays a row.
    """
    if isinstance(value, Markup) or value is None or not isinstance(value, str):
        return value
    plain = str(escape(" ".join(value.split())))
    quiet = plain.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")
    return Markup(re.sub(r"(&#?\w+;)|" + _SPECIAL.pattern, _escape_one, quiet))


def _escape_one(found: re.Match[str]) -> str:
    return found.group(1) or "\\" + found.group(2)


def _write(path: Path, content: str) -> None:
    """Whole or not at all: written beside, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)
