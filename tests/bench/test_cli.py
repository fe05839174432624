"""The commands as a user types them: exit codes, files, messages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli import main
from tests.bench.conftest import RUN

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "report.html", "report.md", "records.jsonl", "claims.jsonl", "curves.jsonl", "costs.jsonl",
    "environment.json",
    "spec.json", "health.json", "plan.json", "table.csv", "log.txt", "samples/index.json",
)  # fmt: skip


def toys(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """The command line with toy steps in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.toys", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_run_leaves_a_report_and_a_second_one_does_nothing(done: Path, monkeypatch, capsys) -> None:
    log = done / "calls.txt"
    monkeypatch.setenv("BENCH_TOY_LOG", str(log))
    folder = done / "runs" / "question-profile"
    assert [name for name in FILES if not (folder / name).is_file()] == []
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    started = time.perf_counter()
    assert main(RUN) == 0
    assert time.perf_counter() - started < 5
    assert "nothing to do" in capsys.readouterr().out
    assert not log.exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_without_its_report_is_assembled_again_without_any_step(done: Path, monkeypatch) -> None:
    folder = done / "runs" / "question-profile"
    records = (folder / "records.jsonl").read_bytes()
    (folder / "report.html").unlink()
    (folder / "records.jsonl").unlink()
    log = done / "calls.txt"
    monkeypatch.setenv("BENCH_TOY_LOG", str(log))
    assert main(RUN) == 0
    assert not log.exists()
    assert (folder / "records.jsonl").read_bytes() == records
    costs = [json.loads(line) for line in (folder / "costs.jsonl").read_text().splitlines()]
    assert costs and not any(cost["reused"] for cost in costs)


def test_another_run_on_the_same_store_reuses_everything_and_says_so(done: Path) -> None:
    assert main([*RUN, "--out", "again"]) == 0
    first, again = done / "runs" / "question-profile", done / "again"
    assert (first / "records.jsonl").read_bytes() == (again / "records.jsonl").read_bytes()
    costs = [json.loads(line) for line in (again / "costs.jsonl").read_text().splitlines()]
    assert costs and all(cost["reused"] and cost["seconds"] >= 0 for cost in costs)


def test_a_failing_step_is_named_and_the_same_command_goes_on(toy: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("BENCH_TOY_FAIL", "claims")
    assert main(RUN) == 1
    errors = capsys.readouterr().err
    assert "FAILED claims question ucf101" in errors and "the toy step claims was told to fail" in errors
    assert "give the same command again" in errors
    folder = toy / "runs" / "question-profile"
    assert (folder / "report.html").is_file() and (folder / "records.jsonl").read_text()
    health = json.loads((folder / "health.json").read_text())
    assert {gap["id"] for gap in health["missing"]} == {"claims question ucf101", "claims question msrvtt"}
    monkeypatch.delenv("BENCH_TOY_FAIL")
    log = toy / "calls.txt"
    monkeypatch.setenv("BENCH_TOY_LOG", str(log))
    assert main(RUN) == 0
    assert log.read_text().split() == ["claims", "claims"]
    assert json.loads((folder / "health.json").read_text())["missing"] == []
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["attempts"] == 2


def test_the_report_is_rebuilt_without_torch(done: Path) -> None:
    report = done / "runs" / "question-profile" / "report.html"
    content = report.read_bytes()
    report.unlink()
    code = (
        "import sys; from bench.cli import main; code = main(['report', 'runs/question-profile', '--quiet']);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
    assert report.read_bytes() == content
    assert main(["report", "nowhere"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on_and_can(toy: Path, number: signal.Signals) -> None:
    log = toy / "calls.txt"
    process = toys(*RUN, BENCH_TOY_SLOW="sample", BENCH_TOY_LOG=str(log))
    deadline = time.monotonic() + 60
    while not (log.exists() and "sample" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert number.name in errors and "give the same command again" in errors
    trained = log.read_text().split().count("train")
    assert trained > 0
    assert toys(*RUN, BENCH_TOY_LOG=str(log)).wait(60) == 0
    assert log.read_text().split().count("train") == 12


def test_a_killed_run_can_go_on(toy: Path) -> None:
    log = toy / "calls.txt"
    process = toys(*RUN, BENCH_TOY_SLOW="aggregate", BENCH_TOY_LOG=str(log))
    deadline = time.monotonic() + 60
    while not (log.exists() and "aggregate" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    time.sleep(1.5)  # its workers notice
    assert toys(*RUN, BENCH_TOY_LOG=str(log)).wait(60) == 0
    assert log.read_text().split().count("train") == 12


def test_two_runs_at_once_do_the_work_once(toy: Path) -> None:
    log = toy / "calls.txt"
    both = [toys(*RUN, BENCH_TOY_LOG=str(log)) for _ in range(2)]
    assert [process.wait(90) for process in both] == [0, 0]
    calls = log.read_text().split()
    assert calls.count("train") == 12 and calls.count("world") == 1
    assert (toy / "runs" / "question-profile" / "report.html").is_file()


WRONG = {
    "no such spec": (["run", "questoin.yaml"], "there is no such file. Known: profile.yaml, question.yaml"),
    "unknown profile": (["run", "question.yaml", "--profile", "tinny"], "Did you mean 'tiny'?"),
    "too few samples": ([*RUN, "--samples", "1"], "--samples is 1; allowed: 2 or more"),
    "seeds": ([*RUN, "--seeds", "0,x"], "--seeds is '0,x'"),
    "the same seed twice": ([*RUN, "--seeds", "1,1"], "--seeds is 1,1"),
    "device": ([*RUN, "--device", "tpu"], "--device is 'tpu'. Known: auto, cpu, cuda."),
    "data": ([*RUN, "--data", "kinetics=x"], "unknown name 'kinetics'. Known: ucf101, msrvtt, train."),
    "folder": ([*RUN, "--data", "ucf101=nowhere"], "--data ucf101=nowhere: there is no such folder"),
    "weights": ([*RUN, "--weights", "vae=nowhere"], "--weights vae=nowhere: there is no such file"),
    "classifier": ([*RUN, "--weights", "classifier=w/vae.safetensors"], "measuring networks belong to the protocol"),
    "perceptual": ([*RUN, "--weights", "perceptual=w/vae.safetensors"], "measuring networks belong to the protocol"),
    "engine": ([*RUN, "--engine", "slurm"], "--engine is 'slurm'. Known: local, ray."),
    "option": ([*RUN, "--smaples", "3"], "--smaples"),
    "command": (["rnu"], "rnu"),
    "list": (["list", "question"], "Did you mean 'questions'?"),
    "picture": (["animate", "no.png", "--prompt", "x", "--out", "x.mp4"], "no.png: there is no such file"),
    "golden": (["verify", "nowhere"], "nowhere: there is no such folder"),
    "check": (["check", "data", "ucf101=nowhere"], "there is no such folder"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_exits_2_before_any_work(toy: Path, capsys, arguments: list[str], words: str) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not (toy / "runs").exists() or not list((toy / "runs").glob("*/log.txt"))


def test_a_wrong_spec_exits_2_from_plan_too(toy: Path, capsys) -> None:
    spec = toy / "question.yaml"
    spec.write_text(spec.read_text().replace("model.context: none", "model.context: nine"))
    for command in ("plan", "run"):
        assert main([command, "question.yaml", "--profile", "./profile.yaml"]) == 2
        assert "question.yaml:5: variants.no_ctx.model.context is 'nine'." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_profile_that_contradicts_its_protocol_exits_2(toy: Path, capsys, command: str) -> None:
    profile = toy / "profile.yaml"
    profile.write_text(profile.read_text().replace("protocol: tiny/v1", "protocol: dynamicrafter-256/v1"))
    assert main([command, "question.yaml", "--profile", "./profile.yaml"]) == 2
    errors = capsys.readouterr().err
    assert "frames is 16 in dynamicrafter-256/v1, 8 in the profile" in errors
    assert "profile/v1" in errors


def test_missing_weights_are_named_before_any_work(toy: Path, capsys) -> None:
    for role in ("vae", "t2v"):
        (toy / "w" / f"{role}.safetensors").unlink()
    assert main(["plan", *RUN[1:-1]]) == 0
    assert "Not there yet: weights 'vae'" in capsys.readouterr().out
    assert main(RUN) == 2
    errors = capsys.readouterr().err
    assert "--weights vae=FILE" in errors and "--weights t2v=FILE" in errors and "pretrain" in errors
    assert not (toy / "runs" / "question-profile").exists()


def test_a_dry_run_prints_the_plan_and_does_nothing(toy: Path, capsys) -> None:
    assert main([*RUN, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert main(["plan", *RUN[1:-1]]) == 0
    assert capsys.readouterr().out == dry
    assert not (toy / "runs" / "question-profile").exists()
    assert main(["plan", *RUN[1:-1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["todo"] > 0


def test_records_come_as_json(done: Path, capsys) -> None:
    assert main([*RUN, "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {record["metric"] for record in records} == {"fvd", "kvd", "pic"}


@pytest.mark.parametrize("what", ["questions", "profiles", "datasets", "systems", "weights"])
def test_everything_can_be_listed(what: str, capsys) -> None:
    assert main(["list", what]) == 0
    text = capsys.readouterr().out
    assert text.startswith(what) and len(text.splitlines()) > 1
    assert main(["list", what, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {what}


def test_the_store_is_checked_and_cleaned(done: Path, capsys) -> None:
    assert main(["store", "check"]) == 0
    curve = next((done / "runs" / "store" / "artifacts" / "train").glob("*/curve.jsonl"))
    curve.write_text(curve.read_text().replace("0.5", "0.4"))
    capsys.readouterr()
    assert main(["store", "check"]) == 1
    assert "DAMAGED train/" in capsys.readouterr().out
    curve.unlink()
    assert main(["store", "gc"]) == 0
    assert "damaged train/" in capsys.readouterr().out
    assert main(["store", "check"]) == 0


def test_help_answers_without_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']; import bench.__main__ as m; m.main();"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'rich', 'av', 'jinja2'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: python -m bench" in done.stdout


def test_planning_imports_no_torch(toy: Path) -> None:
    code = (
        "import sys; from bench.cli import main; code = main(['plan', *sys.argv[1:]]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "ablations" / "dual_stream.yaml"), "--profile", "smoke"],
        cwd=toy, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_foreign_package_called_datasets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datasets.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench.__main__ as m;"
        f"sys.path.insert(0, {str(tmp_path)!r}); import datasets; sys.exit(m.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not from this project" in done.stderr and f"Run from {ROOT}" in done.stderr


def test_the_program_is_offline() -> None:
    code = (
        "import os, sys; sys.argv[1:] = ['--help']; import bench.__main__ as m; m.main();"
        "print(os.environ['HF_HUB_OFFLINE'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


COMMANDS = (
    "run", "plan", "list", "report", "verify", "check", "convert", "pretrain", "animate", "story", "store", "fullsize",
    "score", "rescore", "compare", "conditions", "export", "study", "captions", "speed", "shards",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_is_the_one_that_is_written_down(command: str, capsys, monkeypatch) -> None:
    """After a change: COLUMNS=100 python -m bench COMMAND --help > docs/help/COMMAND.txt"""
    monkeypatch.setenv("COLUMNS", "100")
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "help" / f"{command}.txt").read_text()
