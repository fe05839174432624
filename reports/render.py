"""How does a run become a page? Run folders -> report.html (one file, offline) and report.md with its images.

Both are made from the same records by the same chapters; a test keeps them saying the same. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import glossary, story, words
from reports.chapter import Chapter, chapter
from reports.cost import HEAD as COST_HEAD
from reports.export import write_csv
from reports.files import write_text
from reports.load import Run, load
from reports.paper import paper, published_csv
from reports.templating import page
from reports.twin import markdown


@dataclass(frozen=True)
class Rendered:
    """Where the report lies."""

    html: Path
    markdown: Path


def render(run_dirs: Path | Sequence[Path], out: Path | None = None) -> Rendered:
    """Writes report.html, report.md and report_files/ into `out` (default: the folder of the first run).

    One run or several: each becomes a chapter, numbers of different runs never meet in a column. Also writes
    each run's table.csv. Raises ValueError naming file and line of a record that cannot be read; nothing is
    written then.
    """
    folders = [run_dirs] if isinstance(run_dirs, Path) else list(run_dirs)
    if not folders:
        raise ValueError("report: no run folder given")
    runs = [load(folder) for folder in folders]
    chapters = [chapter(run, f"r{place}") for place, run in enumerate(runs, start=1)]
    target = out or folders[0]
    target.mkdir(parents=True, exist_ok=True)
    for run in runs:
        write_csv(run)
    context = {
        "chapters": chapters,
        "title": _title(runs),
        "overview": _overview(chapters),
        "paper": paper(),
        "words": words,
        "glossary": glossary,
        "cost_head": COST_HEAD,
        "published_csv": published_csv(),
    }
    write_text(target / "report.html", html(context))
    write_text(target / "report.md", markdown(context, chapters, target))
    return Rendered(target / "report.html", target / "report.md")


def html(context: Mapping[str, object]) -> str:
    """The page, complete in itself."""
    return page("report.html.j2", context, ("plot.css", "style.css"), "page.js")


def _title(runs: Sequence[Run]) -> str:
    scored = list(dict.fromkeys(r.label for run in runs for r in run.records if r.role == "variant"))
    worlds = list(dict.fromkeys(story.world_words(run) for run in runs))
    if scored and not any(run.trained for run in runs) and all(run.spec.get("questions") for run in runs):
        return f"Scores of {words.listed(scored[:4])}{' and others' * (len(scored) > 4)} in {words.listed(worlds)}"
    return f"DynamiCrafter, piece by piece: results of {words.listed(worlds)}"


def _overview(chapters: Sequence[Chapter]) -> list[tuple[str, ...]]:
    """Several runs side by side in words: name, world, protocol, videos, seeds, verdicts; [] for one run."""
    if len(chapters) < 2:
        return []
    rows: list[tuple[str, ...]] = []
    for part in chapters:
        tally = words.tally([claim.verdict for claim in part.run.own_claims])
        world = story.world_words(part.run)
        rows.append((part.run.name, world, part.run.protocol or words.DASH, part.n, part.seeds, tally))
    return rows
