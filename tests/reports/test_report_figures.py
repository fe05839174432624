"""Every figure: its data can be taken away as CSV, its axes are labelled, its marks lie where the numbers say."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from reports.against import against_figure, curves
from reports.chapter import Chapter, chapter
from reports.charts import Figure
from reports.dialects import dialect_figure, dialects
from reports.load import load
from reports.userstudy import study_figure, user_study
from tests.fixtures.run_extras import DIALECTS, REASON

FIGURES = (
    "r1-glance", "r1-extra", "study", "claims", "against_n", "dialects", "loss", "grad_norm", "lambda", "costs",
)  # fmt: skip
UNITS = {  # figure -> what its axes must name
    "loss": ("optimiser step", "mean squared error"),
    "grad_norm": ("optimiser step", "L2 norm"),
    "lambda": ("layer", "λ"),
    "costs": ("seconds", "megabytes"),
    "against_n": ("videos N", "FVD (tiny-i3d)"),
    "dialects": ("FVD (tiny-i3d)",),
    "claims": ("FVD", "PIC"),
    "study": ("%",),
    "r1-glance": ("FVD (tiny-i3d)", "PIC (tiny-perceptual)"),
    "r1-extra": ("Motion (frames)",),
}


@pytest.fixture(scope="module")
def part(rich: Path) -> Chapter:
    return chapter(load(rich), "r1")


@pytest.fixture(scope="module")
def figures(part: Chapter) -> dict[str, Figure]:
    return {figure.name: figure for figure in part.every_figure}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


class Links(HTMLParser):
    """download name -> data of every CSV link."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a" and "download" in given:
            assert given["download"] not in self.found, "two links of one name"
            self.found[given["download"]] = unquote((given["href"] or "").split(",", 1)[1])


def test_every_figure_of_the_page_can_be_taken_away_as_csv(rich, figures):
    page = (rich / "report.html").read_text(encoding="utf-8")
    assert set(figures) == set(FIGURES)
    shown = set(re.findall(r'data-figure="([^"]+)"', page))
    assert shown == set(FIGURES) - {"claims"}, "claims are drawn one by one, their data is under the list"
    links = Links(page).found
    for name, figure in figures.items():
        assert links[f"{name}.csv"].replace("\n", "").replace("\r", "") == figure.csv.replace("\r\n", "")
        rows = rows_of(figure.csv)
        assert rows and None not in rows[0] and all(None not in row.values() for row in rows)
    assert set(links) == {f"{name}.csv" for name in FIGURES} | {"table.csv", "steps.csv", "published.csv"}


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled_with_their_units(figures, name):
    panels = figures[name].panels
    labels = {label for panel in panels for label in (panel.x_label, panel.y_label) if label}
    for panel in panels:
        assert panel.x_label and panel.x_ticks and panel.y_ticks and panel.words
        numbers = [label for _, label in panel.y_ticks if re.fullmatch(r"−?[\d.]+", label)]
        assert not numbers or panel.y_label, "an axis of numbers without a name"
    for unit in UNITS[name]:
        assert any(unit in label for label in labels), (unit, labels)


@pytest.mark.parametrize("name", FIGURES)
def test_marks_lie_inside_their_panels(figures, name):
    for panel in figures[name].panels:
        for mark in panel.marks:
            xs = [float(p.split(",")[0]) for p in mark.points.split()] or [mark.x]
            ys = [float(p.split(",")[1]) for p in mark.points.split()] or [mark.y]
            assert all(
                panel.left - 1 <= x <= panel.width and -1 <= y <= panel.bottom + 1 for x, y in zip(xs, ys, strict=True)
            )


def test_fvd_against_n_is_a_line_in_one_over_n(part, figures):
    figure = figures["against_n"]
    assert [p.title for p in figure.panels] == ["UCF-101, FVD (tiny-i3d)", "MSR-VTT, FVD (tiny-i3d)"]
    panel = figure.panels[0]
    assert [label for _, label in panel.x_ticks][:2] == ["∞", "192"]
    dots = [m for m in panel.marks if m.kind == "dot"]
    full = [m for m in dots if m.words.startswith("DynamiCrafter, N")]
    (line,) = [m for m in panel.marks if m.words == "DynamiCrafter: fit"]
    (x0, y0), (x1, y1) = ([float(v) for v in p.split(",")] for p in line.points.split())
    for dot, point in zip(full, curves(part.run)[0].points, strict=True):
        assert dot.y == pytest.approx(y0 + (dot.x - x0) / (x1 - x0) * (y1 - y0), abs=0.1)
        assert ("open" in dot.css) == (not point.fitted)
    at_infinity = [m for m in panel.marks if "infinitely many" in m.words]
    assert {m.kind for m in at_infinity} == {"segment", "dot"} and all(m.x == panel.x_ticks[0][0] for m in at_infinity)
    assert "300 [250.0, 350.0]" in at_infinity[0].words


def test_why_there_is_no_value_at_infinity_is_said(part, figures):
    assert figures["against_n"].notes == (
        f"No value at infinitely many videos for w/o ctx on UCF-101 and w/o ctx on MSR-VTT: {REASON}.",
    )
    rows = rows_of(figures["against_n"].csv)
    infinite = [row for row in rows if row["n"] == "infinite"]
    assert {row["label"] for row in infinite} == {"DynamiCrafter"} and infinite[0]["low"] == "250.0"
    assert len(rows) == 4 * 4 + 2


def test_one_seeds_curve_stands_in_where_there_is_none_over_all(part):
    run = part.run
    full = [line for line in run.extrapolations if line["variant"] == "full" and line["dataset"] == "ucf101"]
    seeds = [{**full[0], "seed": seed, "points": [{"n": 192, "value": 400 + seed}]} for seed in (1, 0)]
    figure = against_figure(replace(run, extrapolations=seeds))
    assert [m.words for m in figure.panels[0].marks if m.words.startswith("DynamiCrafter, N")] == [
        "DynamiCrafter, N = 192: 400"
    ]
    assert len(rows_of(figure.csv)) == 2 + 2
    assert against_figure(replace(run, extrapolations=[{"points": []}])) is None


def test_dialects_stand_row_by_row_with_the_runs_own_first(part, figures):
    found = dialects(part.run)
    assert [place[1:] for place in found] == [("ucf101", "fvd", "tiny-i3d"), ("msrvtt", "fvd", "tiny-i3d")]
    assert all(list(spread) == ["tiny/v1", *DIALECTS] for spread in found.values())
    panel = figures["dialects"].panels[0]
    assert [label for _, label in panel.y_ticks] == ["tiny/v1", *DIALECTS]
    by_row = {y: [m for m in panel.marks if m.kind == "dot" and m.y == y] for y, _ in panel.y_ticks}
    assert all(len(dots) == 9 for dots in by_row.values())
    rows = rows_of(figures["dialects"].csv)
    own = {r["variant"]: float(r["value"]) for r in rows if (r["dataset"], r["protocol"]) == ("ucf101", "tiny/v1")}
    other = {r["variant"]: float(r["value"]) for r in rows if (r["dataset"], r["protocol"]) == ("ucf101", "cd-fvd/v1")}
    assert all(other[v] == pytest.approx(1.18 * own[v]) for v in own) and len(own) == 9
    note = figures["dialects"].notes[0]
    assert "the same videos of DynamiCrafter score" in note and "under stylegan-v/v1" in note and "cd-fvd/v1" in note


def test_a_dialect_of_another_scale_is_drawn_on_a_log_axis(part):
    own = [r for r in part.run.records if r.protocol == "tiny/v1" and r.metric == "kvd"]
    thousand = [
        replace(r, protocol="x/v1", value=1000 * r.value, low=None, high=None, level=None, interval="") for r in own
    ]
    panel = dialect_figure(replace(part.run, records=[*own, *thousand])).panels[0]
    assert panel.x_label == "KVD (tiny-i3d), log scale"
    apart = {y: sorted(m.x for m in panel.marks if m.kind == "dot" and m.y == y) for y, _ in panel.y_ticks}
    first, second = apart.values()
    assert first[-1] - first[0] == pytest.approx(second[-1] - second[0], abs=0.1) and first[-1] < second[0]


def test_other_worlds_and_networks_never_share_a_panel_of_dialects(part):
    more = [replace(r, protocol="x/v1", features="i3d-k400") for r in part.run.records if r.metric == "fvd"]
    kept = [r for r in part.run.records if r.protocol == "tiny/v1"]
    assert dialect_figure(replace(part.run, records=[*kept, *more])) is None
    worlds = [replace(r, protocol="x/v1", world="real") for r in kept]
    assert dialect_figure(replace(part.run, records=[*kept, *worlds])) is None


def test_a_mark_for_each_percentage_of_the_study(part, figures):
    study = user_study(part.run)
    assert study is not None and [q.label for q in study.asked] == ["Motion quality", "Input conformity"]
    assert [s.best for s in study.asked[0].shares] == [True, False, False]
    assert [s.best for s in study.asked[1].shares] == [False, False, False], "89 [81, 98] is not apart from 78 [70, 87]"
    panel = figures["study"].panels[0]
    assert next(m.words for m in panel.marks if m.kind == "dot") == "DynamiCrafter: 55.6 % [47.6, 64.6]"
    assert study_figure(replace(part.run, study={})) is None


def test_training_costs_say_seconds_and_memory(figures):
    assert [p.title for p in figures["costs"].panels] == ["Time", "Peak memory"]
    words = [m.words for m in figures["costs"].panels[1].marks if m.kind == "text"]
    assert "726 MB" in words


def test_the_page_shows_the_evidence(rich):
    page = (rich / "report.html").read_text(encoding="utf-8")
    assert "would have been seen if larger than 32" in page and "What the way of measuring does to a number" in page
    assert "The same videos under other protocols: stylegan-v/v1, cd-fvd/v1" in page
    assert json.dumps(REASON)[1:-1] in page
