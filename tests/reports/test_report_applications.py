"""Loops and clips between two pictures in the report: the table, the film strips, and that both pages say the same."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from reports.applications import GAP, SIDE, Applications, applications
from reports.load import load
from reports.render import render
from reports.samples import grids
from tests.fixtures.run_folder import write_run
from tests.reports.test_report_twin import Texts, bare, both

TASKS = {"no_ctx": "interpolate", "no_vdg": "loop"}  # variants of the invented run that have videos
ENDS = {
    "full": {"end_conformity": 0.25, "loop_closure": 0.5, "step_distance": 0.125},
    "no_ctx": {"end_conformity": 0.875, "step_distance": 0.0625},
    "no_vdg": {"loop_closure": 0.03125, "step_distance": 0.0625},
}


def with_applications(folder: Path) -> Path:
    """The run with a question whose variants have tasks: records, and numbers of the single clips."""
    spec = json.loads((folder / "spec.json").read_text())
    overrides = {"full": {}, **{name: {"task": task} for name, task in TASKS.items()}}
    spec["questions"]["applications"] = {
        "question": "Do they end there?", "source": "ours", "expect": [], "fingerprint": "0" * 64,
        "variants": {name: {"label": f"The {name}", "overrides": own} for name, own in overrides.items()},
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    lines = (folder / "records.jsonl").read_text().splitlines()
    plain = next(r for r in map(json.loads, lines) if r["metric"] == "pic" and r["seed"] is None)
    rows = [(name, "variant", own) for name, own in ENDS.items()]
    rows.append(("static", "baseline", {"end_conformity": 0.75, "loop_closure": 0.0, "step_distance": 0.0}))
    for name, role, own in rows:
        about = {"question": "applications", "variant": name, "label": f"The {name}", "role": role}
        for metric, value in own.items():
            made = {**plain, **about, "metric": metric, "value": value, "low": value - 0.01, "high": value + 0.01}
            lines.append(json.dumps(made, sort_keys=True))
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    index = json.loads((folder / "samples/index.json").read_text())
    (folder / "samples/index.json").write_text(json.dumps([{**entry, "ends": ENDS} for entry in index]))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = with_applications(write_run(tmp_path_factory.mktemp("applications") / "fake"))
    render(made)
    return made


@pytest.fixture(scope="module")
def shown(folder: Path) -> Applications:
    run = load(folder)
    (one,) = applications(run, grids(run, {}))
    return one


def test_a_question_without_a_task_has_no_section(run, page):
    assert applications(run, []) == [] and "-applications" not in page


def test_the_table_has_each_number_beside_the_baseline(shown):
    assert shown.head[0] == "Variant" and [name.split(", ")[1] for name in shown.head[1:]] == [
        "end conformity ↑", "closing ↓", "step",
    ]  # fmt: skip
    assert shown.rows == (
        ("The full", "0.250 [0.240, 0.260]", "0.500 [0.490, 0.510]", "0.125 [0.115, 0.135]"),
        ("The no_ctx", "0.875 [0.865, 0.885]", "–", "0.062 [0.052, 0.072]"),
        ("The no_vdg", "–", "0.031 [0.021, 0.041]", "0.062 [0.052, 0.072]"),
        ("The static", "0.750 [0.740, 0.760]", "0.000 [−0.010, 0.010]", "0.000 [−0.010, 0.010]"),
    )


def test_a_strip_is_every_frame_and_says_how_the_clip_closes(shown):
    assert len(shown.shown) == 4  # two samples of two data sets
    said = {strip.label: strip.said for strip in shown.shown[0].strips}
    assert said == {
        "The full": "ends at conformity 0.250, closes at 0.500, neighbouring frames are 0.125 apart",
        "The no_ctx": "ends at conformity 0.875, neighbouring frames are 0.062 apart",
        "The no_vdg": "closes at 0.031, neighbouring frames are 0.062 apart",
    }
    loop = shown.shown[0].strips[2]
    picture = Image.open(io.BytesIO(base64.b64decode(loop.picture.partition(",")[2])))
    assert picture.size == (loop.width, loop.height) and (loop.width - GAP) % SIDE == 0
    first, gap, again = (picture.crop(box).resize((1, 1)).getpixel((0, 0)) for box in (
        (0, 0, SIDE, loop.height), (loop.width - SIDE - GAP + 4, 0, loop.width - SIDE - 4, loop.height),
        (loop.width - SIDE, 0, loop.width, loop.height)))  # fmt: skip
    assert min(gap) > 250
    assert max(abs(a - b) for a, b in zip(first, again, strict=True)) < 6  # a loop should end at its own first frame


def test_the_page_and_its_twin_say_the_same(folder):
    page, twin = both(folder)
    section = re.search(r'<section id="[^"]*-applications">.*?</section>', page, re.S)
    assert section is not None and "Do they end there?" in section[0] and "closes at 0.031" in section[0]
    said = bare(twin)
    assert [text for text in dict.fromkeys(Texts(section[0]).found) if text not in said] == []
    assert "<script>alert" not in section[0]  # the invented run has a hostile prompt
