"""What does the report look like on a code host? report.md, with its images and data beside it.

It says all that the page says; figures are SVG (light and dark), samples a moving GIF and a PNG of x-t slices, data
is CSV. Everything lies in report_files/ beside the text, addressed relatively.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.chapter import Chapter
from reports.charts import Figure
from reports.files import write_text
from reports.paper import published_csv
from reports.sheets import sheet, slices
from reports.templating import environment, escape_markdown
from reports.userstudy import study_csv

FOLDER = "report_files"


def markdown(context: Mapping[str, object], chapters: Sequence[Chapter], target: Path) -> str:
    """The text of report.md; writes report_files/ anew into `target`."""
    folder = target / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_text(folder / "published.csv", published_csv())
    files = {"published.csv": f"{FOLDER}/published.csv"}
    for part in chapters:
        files |= {f"{part.key} {name}": f"{FOLDER}/{path}" for name, path in _write(folder, part).items()}
    page = environment(finalize=escape_markdown).get_template("report.md.j2")
    return re.sub(r"\n{3,}", "\n\n", page.render(**context, files=files)).rstrip() + "\n"


def _write(folder: Path, part: Chapter) -> dict[str, str]:
    """Images and data of one chapter: {name in the template: file name}."""
    files = {}
    for figure in part.every_figure:
        stem = f"{part.key}-{figure.name.removeprefix(part.key + '-')}"
        write_text(folder / f"{stem}.svg", standalone(figure))
        files[figure.name] = f"{stem}.svg"
        write_text(folder / f"{stem}.csv", figure.csv)
        files[f"{figure.name}.csv"] = f"{stem}.csv"
    data = part.csv | ({"study": study_csv(part.study)} if part.study else {})
    for name, content in data.items():
        write_text(folder / f"{part.key}-{name}.csv", content)
        files[f"{name}.csv"] = f"{part.key}-{name}.csv"
    for grid in part.grids:
        stem = f"{part.key}-samples-{re.sub(r'[^A-Za-z0-9_-]', '_', grid.dataset)}"
        if sheet(grid, folder / f"{stem}.gif"):
            files[f"samples {grid.dataset}"] = f"{stem}.gif"
        if slices(grid, folder / f"{stem}-slices.png"):
            files[f"slices {grid.dataset}"] = f"{stem}-slices.png"
    return files


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
    wide = max(size[0], 720 if legend else 0)
    drawn = environment().get_template("figure.svg.j2")
    return drawn.render(figure=figure, placed=placed, width=wide, height=full, legend=legend) + "\n"
