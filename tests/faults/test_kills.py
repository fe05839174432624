"""The harness that kills runs: its moments are spread, it sees differences, and it finds a store that is not atomic."""

import random
import shutil
from pathlib import Path

import pytest

from bench.cli import main
from bench.runner import Options, prepare
from tests.bench.conftest import RUN
from tests.faults.__main__ import QUESTIONS
from tests.faults.digest import artifact_digests, differences, run_digests
from tests.faults.kills import GROUPS, MOMENTS, PER_ROUND, Kill, Report, moments, session

ROOT = Path(__file__).resolve().parents[2]
WORDS = [str(ROOT / "ablations" / "dual_stream.yaml"), "--profile", "smoke", "--quiet"]


def test_moments_come_in_the_order_of_a_run_and_reach_all_of_it() -> None:
    drawn = [moments(random.Random(seed)) for seed in range(5)]
    assert drawn == [moments(random.Random(seed)) for seed in range(5)] and drawn[0] != drawn[1]
    assert {aim for one in drawn for aim, _, _ in one} == set(GROUPS)
    assert {(name, whom) for one in drawn for _, name, whom in one} >= {
        ("SIGKILL", "group"), ("SIGTERM", "parent"), ("SIGINT", "group"), ("SIGKILL", "worker"),
    }  # fmt: skip
    for one in drawn:
        assert len(one) == PER_ROUND
        places = [MOMENTS.index(aim) for aim, _, _ in one]
        assert places == sorted(places)


def test_the_runs_that_are_killed_have_every_kind_of_step(tmp_path: Path) -> None:
    every = [path.stem for path in (ROOT / "ablations").glob("*.yaml")]
    kinds = [
        {step.kind for step in prepare(Options(specs, profile="smoke", store=tmp_path)).plan.graph}
        for specs in (tuple(ROOT / "ablations" / f"{name}.yaml" for name in names) for names in (every, QUESTIONS))
    ]
    assert kinds[0] == kinds[1]


def test_what_differs_is_named(done: Path) -> None:
    run, store = done / "runs" / "question-profile", done / "runs" / "store"
    artifacts, files = artifact_digests(store), run_digests(run)
    assert len(artifacts) > 20 and files["records.jsonl"] != "absent"
    assert differences(artifacts, artifact_digests(store)) == [] == differences(files, run_digests(run))
    path = next((store / "artifacts" / "score").glob("*/records.json"))
    path.write_bytes(path.read_bytes() + b" ")
    (run / "claims.jsonl").unlink()
    (line,) = differences(artifacts, artifact_digests(store))
    assert line == f"differs {path.relative_to(store)}"
    assert differences(files, run_digests(run)) == ["differs claims.jsonl"]


def test_a_report_counts_only_what_is_identical() -> None:
    kills = [Kill("training", "SIGKILL", "group", ("train",), hit, round) for round in (1, 2) for hit in (True, False)]
    report = Report(kills, starts=6, rounds=2)
    assert not report.passed() and report.passed(least_hits=0.5)
    report.differences, report.bad_rounds = ["round 2: differs records.jsonl"], {2}
    assert not report.passed(least_hits=0.5)
    assert list(report.lines())[-1] == "2 of 4 identical"


def test_a_run_killed_between_its_numbers_and_its_report_writes_the_report(toy: Path, monkeypatch) -> None:
    """An earlier attempt, in which a step failed, left a report: it must not be taken for this one's."""
    monkeypatch.setenv("BENCH_TOY_FAIL", "train")
    assert main(RUN) == 1
    folder = toy / "runs" / "question-profile"
    early = (folder / "report.html").read_bytes()
    monkeypatch.delenv("BENCH_TOY_FAIL")
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("reports.render.render", killed)
        assert main(RUN) == 130
    assert main(RUN) == 0
    assert (folder / "report.html").read_bytes() != early
    assert len((folder / "table.csv").read_text().splitlines()) > 5


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    report = session(tmp_path, WORDS, count=6, seed=3)
    assert report.passed(), list(report.lines())


@pytest.mark.slow
def test_a_store_that_writes_in_place_is_found_out(tmp_path: Path) -> None:
    for seed in range(4):
        folder = tmp_path / str(seed)
        report = session(folder, WORDS, count=10, seed=seed, program="tests.faults.sabotaged")
        if report.differences:
            return
        shutil.rmtree(folder)
    pytest.fail("forty kills of a store that is not atomic, and nothing was noticed")
