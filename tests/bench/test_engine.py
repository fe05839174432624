"""The engine: every step once, in a possible order; a failure stops only what stands on it."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.engine import Outcome
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.progress import Display, duration
from bench.store import Store

ROOT = Path(__file__).resolve().parents[2]

BODY = """
import json, os, time
from pathlib import Path
VERSION = 1

def run(work):
    name = work.config["name"]
    with (Path(os.environ["TRACE"])).open("a") as file:
        file.write(f"{name} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\\n")
    if name in os.environ.get("FAIL", "").split():
        raise ValueError(f"{name} cannot be done")
    if name in os.environ.get("DIE", "").split():
        os.kill(os.getpid(), 9)
    time.sleep(work.config.get("sleep", 0))
    told = {role: json.loads((path / "out.json").read_text())["name"] for role, path in work.inputs.items()}
    work.progress(1, 2, "half")
    (work.out / "out.json").write_text(json.dumps({"name": name, "inputs": told, "local":
    work.config.get("where")}))
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_kinds: None) -> Path:
    """Steps of kind "unit" write their names here."""
    from bench import graph

    (tmp_path / "unit_body.py").write_text(BODY)
    monkeypatch.setenv("TRACE", str(tmp_path / "trace.txt"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    graph.register_kind("unit", "unit_body")
    return tmp_path / "trace.txt"


def unit(graph: Graph, name: str, *parents: Step, sleep: float = 0.0, cost: float = 1.0, **local: str) -> Step:
    config = {"name": name, "sleep": sleep}
    inputs = {f"in{k}": parent for k, parent in enumerate(parents)}
    return graph.add(Step("unit", name, config, inputs, local, cost))


def run(graph: Graph, folder: Path, workers: int = 2, stream: io.StringIO | None = None) -> Outcome:
    display = Display(workers, stream=stream or io.StringIO())
    return LocalEngine(Store(folder / "store"), workers, ["cpu"], 1, display).run(graph)


def names(trace: Path) -> list[str]:
    return [line.split()[0] for line in trace.read_text().splitlines()] if trace.exists() else []


def diamond() -> tuple[Graph, list[Step]]:
    graph = Graph()
    a = unit(graph, "a")
    b, c = unit(graph, "b", a), unit(graph, "c", a)
    return graph, [a, b, c, unit(graph, "d", b, c, where="there")]


def test_steps_run_once_after_their_inputs_and_are_then_reused(trace: Path, tmp_path: Path) -> None:
    graph, steps = diamond()
    outcome = run(graph, tmp_path)
    assert outcome.complete and not outcome.reused
    order = names(trace)
    assert sorted(order) == ["a", "b", "c", "d"] and order[0] == "a" and order[-1] == "d"
    folder = Store(tmp_path / "store").folder("unit", steps[3].fingerprint)
    assert (folder / "out.json").read_text() == '{"name": "d", "inputs": {"in0": "b", "in1": "c"}, "local": "there"}'
    assert {line.split()[2] for line in trace.read_text().splitlines()} == {"1"}
    costs = outcome.costs[steps[0].fingerprint]
    assert set(costs) == {"seconds", "cpu_seconds", "peak_memory_mb", "started"}
    assert 5 < costs["peak_memory_mb"] < 2000 and outcome.peak_memory_mb > 0
    again = run(graph, tmp_path)
    assert len(again.reused) == 4 and not again.costs and names(trace) == order


def test_a_failure_stops_only_what_stands_on_it(trace: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAIL", "b")
    graph, steps = diamond()
    other = unit(graph, "other")
    seen = io.StringIO()
    outcome = run(graph, tmp_path, stream=seen)
    assert outcome.failed == {steps[1].fingerprint: "ValueError: b cannot be done"}
    assert outcome.skipped == {steps[3].fingerprint}
    assert {steps[0].fingerprint, steps[2].fingerprint, other.fingerprint} == set(outcome.costs)
    assert f"FAILED b (unit {steps[1].fingerprint[:12]}): ValueError: b cannot be done" in seen.getvalue()
    monkeypatch.delenv("FAIL")
    assert run(graph, tmp_path).complete
    assert sorted(names(trace)) == ["a", "b", "b", "c", "d", "other"]


def test_two_failures_below_one_step_are_counted_once(trace: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAIL", "b c")
    graph, steps = diamond()
    outcome = run(graph, tmp_path)
    assert set(outcome.failed) == {steps[1].fingerprint, steps[2].fingerprint}
    assert outcome.skipped == {steps[3].fingerprint}


def test_a_worker_that_dies_fails_its_step_and_is_replaced(trace: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DIE", "b")
    graph, steps = diamond()
    outcome = run(graph, tmp_path, workers=1)
    assert "the worker process died (SIGKILL" in outcome.failed[steps[1].fingerprint]
    assert steps[2].fingerprint in outcome.costs
    assert not Store(tmp_path / "store").has("unit", steps[1].fingerprint)


def test_a_worker_does_many_steps(trace: Path, tmp_path: Path) -> None:
    graph = Graph()
    for k in range(6):
        unit(graph, f"s{k}")
    run(graph, tmp_path, workers=1)
    assert len({line.split()[1] for line in trace.read_text().splitlines()}) == 1


def test_the_longest_path_starts_first(trace: Path, tmp_path: Path) -> None:
    graph = Graph()
    unit(graph, "short", cost=5)
    long = unit(graph, "long", cost=4)
    unit(graph, "after", long, cost=4)
    run(graph, tmp_path, workers=1)
    assert names(trace) == ["long", "short", "after"]


def test_two_engines_on_one_store_do_the_work_once(trace: Path, tmp_path: Path) -> None:
    graph = Graph()
    for k in range(4):
        unit(graph, f"s{k}", sleep=0.3)
    outcomes: list[Outcome] = []
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from bench import graph as g\n"
        "from bench.graph import Graph\n"
        "from tests.bench.test_engine import run, unit\n"
        "if __name__ == '__main__':\n"
        "    g.register_kind('unit', 'unit_body'); graph = Graph()\n"
        "    for k in range(4): unit(graph, f's{k}', sleep=0.3)\n"
        "    assert run(graph, Path(sys.argv[2])).complete\n"
    )
    (tmp_path / "other.py").write_text(program)
    other = subprocess.Popen([sys.executable, tmp_path / "other.py", ROOT, tmp_path], env=os.environ)
    outcomes.append(run(graph, tmp_path))
    assert other.wait(60) == 0
    assert outcomes[0].complete
    assert sorted(names(trace)) == ["s0", "s1", "s2", "s3"]


def test_a_damaged_artifact_is_made_again(trace: Path, tmp_path: Path) -> None:
    graph, steps = diamond()
    run(graph, tmp_path)
    (Store(tmp_path / "store").folder("unit", steps[1].fingerprint) / "out.json").unlink()
    outcome = run(graph, tmp_path)
    assert outcome.complete and names(trace)[4:] == ["b"]


def test_progress_lines_count_and_estimate() -> None:
    seen = io.StringIO()
    display = Display(2, stream=seen)
    steps = [Step("unit", f"s{k}", {"k": k}, cost=10) for k in range(3)]
    for step in steps:
        step.__dict__["fingerprint"] = step.label
    display.start(steps, {"s2"})
    assert "3 steps (1 already done), about 10 s on 2 workers" in seen.getvalue()
    display.begin(steps[0])
    display.update(steps[0], 1, 2, "")
    assert display.left() == pytest.approx(7.5)
    display.finish(steps[0], {"seconds": 3.0, "cpu_seconds": 25.0})
    assert "[2/3] s0: 3 s, about 10 s left" in seen.getvalue()  # 10 CPU s left, twice as slow as planned, two workers


def test_quiet_shows_failures_alone(tmp_path: Path) -> None:
    seen = io.StringIO()
    display = Display(1, quiet=True, log=tmp_path / "log.txt", stream=seen)
    display.say("hello")
    display.note("bad news")
    assert seen.getvalue() == "bad news\n"
    assert "hello" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_workers_end_when_the_engine_is_killed(trace: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from bench import graph as g\n"
        "from bench.graph import Graph\n"
        "from tests.bench.test_engine import run, unit\n"
        "if __name__ == '__main__':\n"
        "    g.register_kind('unit', 'unit_body'); graph = Graph()\n"
        "    unit(graph, 'slow', sleep=60); run(graph, Path(sys.argv[2]))\n"
    )
    (tmp_path / "killed.py").write_text(program)
    engine = subprocess.Popen([sys.executable, tmp_path / "killed.py", ROOT, tmp_path], env=os.environ)
    worker = _wait_for(trace, engine)
    engine.kill()
    engine.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(worker):
        time.sleep(0.1)
    assert not _alive(worker)


def _wait_for(trace: Path, engine: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and engine.poll() is None:
        if names(trace):
            return int(trace.read_text().split()[1])
        time.sleep(0.05)
    raise AssertionError("the step did not start")


def _alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
