"""Does the recorded smoke run come out the same here? To the byte on the same platform, else within the tolerance.

After a change that is meant to change numbers: `make record`, and look at the difference.
"""

import json
from pathlib import Path

import pytest

from tests.faults.digest import differences
from tests.reproducibility import compare, record


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again")
    record.run(folder)
    return folder


def recorded(name: str) -> dict:
    return json.loads((record.RECORDED / name).read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.reproducibility
def test_the_recorded_run_comes_out_the_same(again: Path) -> None:
    then, now = recorded("environment.json"), record.environment()
    if not compare.same_platform(then, now):
        _close(again / "run", compare.what_differs(then, now))
        return
    for name in record.FILES:
        assert compare.unequal_bytes(record.RECORDED / name, again / "run" / name) == []
    assert differences(recorded("artifacts.json"), record.artifacts(again)) == []


@pytest.mark.slow
@pytest.mark.reproducibility
def test_other_kernels_stay_within_the_tolerance(tmp_path: Path) -> None:
    """Torch's plainest kernels stand for another processor: other bits, the same numbers."""
    record.run(tmp_path, ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", MKL_ENABLE_INSTRUCTIONS="SSE4_2")
    assert differences(recorded("artifacts.json"), record.artifacts(tmp_path)), "the same bits: this tests nothing"
    _close(tmp_path / "run", ["other kernels"])


def _close(run: Path, why: list[str]) -> None:
    records = list(compare.far_records(record.RECORDED / "records.jsonl", run / "records.jsonl"))
    assert records == [], why
    curves = list(compare.far_curves(record.RECORDED / "curves.jsonl", run / "curves.jsonl"))
    assert curves == [], why


# ---- the comparison itself ----


def changed(tmp_path: Path, factor: float, metric: str) -> Path:
    path = tmp_path / "records.jsonl"
    lines = compare.lines(record.RECORDED / "records.jsonl")
    for line in lines:
        if line["metric"] == metric and line["value"] is not None:
            line["value"] = line["value"] * factor + (factor - 1)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("metric, factor, near", [("fvd", 1.01, True), ("fvd", 1.05, False), ("pic", 1.5, False)])
def test_the_tolerance_can_fail(tmp_path: Path, metric: str, factor: float, near: bool) -> None:
    far = list(compare.far_records(record.RECORDED / "records.jsonl", changed(tmp_path, factor, metric)))
    assert (far == []) == near and all(f"'{metric}'" in line for line in far)


def test_a_record_that_is_missing_and_a_byte_that_differs_are_told(tmp_path: Path) -> None:
    source, path = record.RECORDED / "records.jsonl", tmp_path / "records.jsonl"
    text = source.read_text(encoding="utf-8")
    path.write_text(text.partition("\n")[2])
    assert "is in one of the two only" in next(iter(compare.far_records(source, path)))
    path.write_text(text.replace("0", "1", 1))
    assert len(compare.unequal_bytes(source, path)) == 1


def test_what_may_change_the_bits_is_named() -> None:
    here = record.environment()
    assert all(here[name] for name in compare.BITS)
    other = {**here, "torch": "0.1", "cpu": "an abacus"}
    assert compare.same_platform(here, dict(here)) and not compare.same_platform(here, other)
    assert [line.split(":")[0] for line in compare.what_differs(other, here)] == ["torch", "cpu"]


def test_the_recording_says_what_made_it() -> None:
    told = recorded("environment.json")
    assert told["command"] == "python -m tests.reproducibility.record" and set(compare.BITS) <= told.keys()
    assert len(compare.lines(record.RECORDED / "records.jsonl")) > 100 and len(recorded("artifacts.json")) > 100
