"""The growth script measures what it says, at sizes that take no time, and its runs with many variants are sound."""

import json
from pathlib import Path

import pytest

from bench import growth
from reports.load import load


@pytest.mark.parametrize(("part", "count"), [("samples", 16), ("variants", 3), ("store", 120)])
def test_a_part_tells_numbers(part: str, count: int, tmp_path: Path) -> None:
    told = growth.PARTS[part][0](count, tmp_path)
    assert told and all(value >= 0 for value in told.values())


def test_the_store_keeps_what_a_run_uses(tmp_path: Path) -> None:
    growth.store(120, tmp_path)
    assert len(list((tmp_path / "store" / "artifacts" / "score").iterdir())) == 60


def test_collecting_looks_at_each_artifact_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.housekeeping import collect
    from bench.store import Store

    looks: list[str] = []
    has = Store.has
    monkeypatch.setattr(Store, "has", lambda self, kind, name: looks.append(name) or has(self, kind, name))
    made = Store(tmp_path / "store")
    for number in range(3):
        temporary = made.begin(f"{number:064x}")
        (temporary / "x").write_text("x")
        made.commit("score", f"{number:064x}", temporary, {}, {})
    looks.clear()
    list(collect(made, []))
    assert len(looks) == 3


def test_a_run_is_repeated_with_more_variants(done_once: Path, tmp_path: Path) -> None:
    run = next(path.parent for path in done_once.rglob("records.jsonl"))
    growth.repeated(run, tmp_path / "many", 12)
    question = next(iter(json.loads((tmp_path / "many" / "spec.json").read_text())["questions"].values()))
    assert len(question["variants"]) == 12
    scored = {record.variant for record in load(tmp_path / "many").records if record.role == "variant"}
    assert len(scored) == 12


def test_a_part_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="report 3"):
        growth.measure("report", 3, tmp_path / "nowhere")


def test_no_report_without_a_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["growth", "report"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "needs --run" in capsys.readouterr().err
