"""What sampling alone changes: curves over factors on lambda, heat maps over guidance scales, tables by video count."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports import words
from reports.curves import lambda_sheet
from reports.load import Run, load, read_claim
from reports.render import render
from reports.sampled import DARKEST, PALEST, Sampled, sampled
from reports.tables import ablation_tables, extra_tables
from reports.verdicts import claims_by_question
from tests.fixtures.run_folder import FakeRun, write_run
from tests.fixtures.run_sampled import CAPS, LAMBDA, SCALED, with_sampling
from tests.reports.test_report_twin import Texts, bare, both


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_run(tmp_path_factory.mktemp("sampled") / "fake", FakeRun(samples=0, curves=False))
    render(with_sampling(made))
    return made


@pytest.fixture(scope="module")
def asked(folder: Path) -> Run:
    return load(folder)


@pytest.fixture(scope="module")
def shown(asked: Run) -> dict[str, Sampled]:
    return {one.figure.name: one for one in sampled(asked)}


def test_questions_without_numbers_to_turn_have_no_picture(run: Run, shown: dict[str, Sampled]) -> None:
    assert sampled(run) == []
    assert list(shown) == [f"factors-{LAMBDA}", f"scales-{SCALED}"]


def test_a_factor_has_a_line_per_group_that_meets_at_one(asked: Run, shown: dict[str, Sampled]) -> None:
    figure = shown[f"factors-{LAMBDA}"].figure
    assert [p.title for p in figure.panels][:2] == ["UCF-101, Motion", "MSR-VTT, Motion"] and len(figure.panels) == 4
    assert [label for _, label in figure.legend] == ["intermediate layers", "two-end layers"]
    panel = figure.panels[0]
    lines = [m for m in panel.marks if m.kind == "line"]
    assert len(lines) == 2 and all(len(line.points.split()) == 5 for line in lines)
    at_one = [line.points.split()[2].split(",")[1] for line in lines]
    assert at_one[0] == at_one[1], "the model as it was trained is on both lines"
    assert [label for _, label in panel.x_ticks] == ["0", "0.5", "1", "1.5", "2"]
    rows = list(csv.DictReader(io.StringIO(figure.csv)))
    value = next(r for r in asked.records if (r.variant, r.metric, r.seed) == ("middle_05", "motion", None)).value
    told = [r for r in rows if (r["layers"], r["factor"], r["metric"]) == ("intermediate layers", "0.5", "motion")]
    assert float(told[0]["value"]) == value and {r["n"] for r in rows} == {"48"}


def test_a_heat_map_has_a_cell_per_pair_in_its_place(shown: dict[str, Sampled]) -> None:
    panel = shown[f"scales-{SCALED}"].figure.panels[0]
    cells = {m.words.split(":")[0]: m for m in panel.marks if m.kind == "cell"}
    assert len(cells) == 8 and "t3_i0" not in cells and "no_prompt" not in cells
    assert cells["t3_i3"].x > cells["t3_i15"].x and cells["t3_i3"].y < cells["t15_i3"].y, "s_img to the right, s_txt up"
    assert {name for name, m in cells.items() if m.css == "heat equal"} == {"t0_i0", "t15_i15", "t3_i3"}
    by_value = sorted(cells.values(), key=lambda m: float(m.words.split(": ")[1].split(" ")[0]))
    assert [m.r for m in by_value] == sorted(m.r for m in by_value)
    assert (by_value[0].r, by_value[-1].r) == (PALEST, DARKEST)
    texts = [m.words for m in panel.marks if m.kind == "text"]
    assert len(texts) == 8 and all(re.fullmatch(r"\d+\.\d+", text) for text in texts)


def test_a_number_is_read_on_the_strongest_cell_in_both_lights() -> None:
    css = (Path(words.__file__).parent / "templates" / "plot.css").read_text()
    for light in css.split("@media")[:2]:
        page, ink, blue = (_rgb(light, name) for name in ("page", "ink", "s1"))
        mixed = [p + (b - p) * DARKEST for p, b in zip(page, blue, strict=True)]
        bright = sorted((_luminance(mixed), _luminance(ink)))
        assert (bright[1] + 0.05) / (bright[0] + 0.05) >= 4.5


def _rgb(css: str, name: str) -> list[float]:
    found = re.search(rf"--{name}: #(\w\w)(\w\w)(\w\w)", css)
    assert found is not None
    return [int(part, 16) / 255 for part in found.groups()]


def _luminance(rgb: list[float]) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_tables_hold_one_number_of_videos(asked: Run) -> None:
    tables = ablation_tables(asked)
    assert [t.cap for t in tables] == [None, 48, 24]
    for table, count in zip(tables, (192, *CAPS.values()), strict=True):
        assert {cell.n for cell in table.cells} == {count}
        assert f"{count} videos per variant and dataset" in table.counted
    assert tables[0].published and not tables[1].published
    first, second = (next(row for row in t.rows if row.variant == "static") for t in tables[:2])
    assert first.cells[0] and second.cells[0] and first.cells[0].value != second.cells[0].value, "baselines of as many"
    assert [t.cap for t in extra_tables(asked)] == [48, 24]


def test_a_cap_that_the_profile_does_not_reach_is_none(asked: Run) -> None:
    profile = {**asked.spec["profile"], "samples": 8}  # type: ignore[dict-item]
    small = replace(asked, spec={**asked.spec, "profile": profile})
    assert [t.cap for t in ablation_tables(small)] == [None]


def test_what_is_claimed_is_said_as_it_was_tested(asked: Run) -> None:
    said = {s.claim: s for q in claims_by_question(asked) for s in q.sentences}
    larger = said["A larger λ stills"]
    assert larger.says == "Motion (larger first): full larger than middle_15 larger than middle_2"
    assert any("effect of the weakest step: middle_15 larger than middle_2" in n for n in larger.judged[0].notes)
    ours = said["Text brings text"]
    assert ours.says == f"Alignment (higher is better): t3_i15 better than t0_i15. {words.OURS}"
    gone = said["The absent one is worse"].judged[0]
    assert gone.claim.verdict == "not tested" and "no numbers of gone" in gone.rest


def test_an_order_is_one_of_two(asked: Run, folder: Path) -> None:
    line = json.loads((folder / "claims.jsonl").read_text().splitlines()[0])
    for wrong in ({**line, "larger": ["a", "b"]}, {k: v for k, v in line.items() if k != "better"}):
        with pytest.raises(ValueError, match=r"claims.jsonl:1: one of better and larger"):
            read_claim(wrong, "claims.jsonl:1")


def test_the_page_and_its_twin_say_the_same(folder: Path) -> None:
    page, twin = both(folder)
    said, found = bare(twin), Texts(page).found
    assert [text for text in dict.fromkeys(found) if text not in said] == []
    for text in (words.SAMPLED_TITLE, "λ times a factor, in numbers", "○ not tested", words.OURS):
        assert text in " ".join(found), text
    assert words.FEWER in said and page.count(words.FEWER) == 2
    for name in (f"r1-factors-{LAMBDA}", f"r1-scales-{SCALED}"):
        svg = (folder / "report_files" / f"{name}.svg").read_text()
        assert svg.count("<g ") >= 4 and (folder / "report_files" / f"{name}.csv").is_file()


def test_tables_of_numbers_are_whole_in_the_twin(folder: Path, shown: dict[str, Sampled]) -> None:
    twin = bare(both(folder)[1])
    for one in shown.values():
        for row in one.sheet.rows:
            assert " | ".join(row) in twin
    assert len(shown[f"scales-{SCALED}"].sheet.rows) == 6 * 3 and len(shown[f"factors-{LAMBDA}"].sheet.rows) == 10
    assert words.DASH in [row[2] for row in shown[f"scales-{SCALED}"].sheet.rows], "the cell that was left out"


def test_the_learned_lambda_is_told_by_layer(run: Run, page: str, twin: str) -> None:
    sheet = lambda_sheet(run)
    assert sheet is not None and sheet.head[:2] == ("Layer", "Name") and "DynamiCrafter" in sheet.head
    assert "w/o λ" not in sheet.head, "fixed: nothing was learned"
    assert [row[0] for row in sheet.rows] == [str(k + 1) for k in range(len(sheet.rows))]
    last = {}
    for line in (line for line in run.curves if line["variant"] == "full" and line["stage"] == "iii"):
        last[line["seed"]] = line["image_scale"]
    name, column = sheet.rows[0][1], sheet.head.index("DynamiCrafter")
    values = [scales[name] for scales in last.values()]  # type: ignore[index]
    mean = words.decimal(sum(values) / len(values), 3)
    assert len(values) == 3
    assert sheet.rows[0][column] == f"{mean} {words.bracket(min(values), max(values), 3)}"
    assert sheet.title in page and " | ".join(sheet.rows[0]) in bare(twin)
