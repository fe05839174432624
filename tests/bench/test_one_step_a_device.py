"""`--engine local --workers N`: worker i gets device i, and one that is started for a dead one takes its device."""

import io
import os
from pathlib import Path

import pytest

from bench import graph as graphs
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.progress import Display
from bench.store import Store

ROOT = Path(__file__).resolve().parents[2]
BODY = """
import os, time
from pathlib import Path
VERSION = 1

def run(work):
    trace, name = Path(os.environ["DEVICES"]), work.config["name"]
    with trace.open("a") as file:
        file.write(f"{name} {work.device} {os.getpid()}\\n")
    if name == os.environ.get("DIE") and not (trace.parent / "died").exists():
        (trace.parent / "died").touch()
        os.kill(os.getpid(), 9)
    until = time.monotonic() + 60  # all workers are at work before one is done
    while len(trace.read_text().splitlines()) < work.config["wait"] and time.monotonic() < until:
        time.sleep(0.02)
    (work.out / "out").write_text(name)
"""
GPUS = ["cuda:0", "cuda:1", "cuda:2"]


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_kinds: None) -> Path:
    """Where steps of kind "placed" write the device that they were given; none of it is used."""
    (tmp_path / "placed_body.py").write_text(BODY)
    monkeypatch.setenv("DEVICES", str(tmp_path / "devices"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    graphs.register_kind("placed", "placed_body")
    (tmp_path / "devices").touch()
    return tmp_path / "devices"


def given(trace: Path, names: list[str], wait: int, workers: int) -> list[tuple[str, str, str]]:
    """(step, device, process) of each step begun, in order."""
    graph = Graph()
    for name in names:
        graph.add(Step("placed", name, {"name": name, "wait": wait}))
    display = Display(workers, stream=io.StringIO())
    LocalEngine(Store(trace.parent / "store"), workers, GPUS, 1, display).run(graph)
    return [tuple(line.split()) for line in trace.read_text().splitlines()]  # type: ignore[misc]


def test_worker_i_has_device_i(trace: Path) -> None:
    begun = given(trace, ["a", "b", "c", "d", "e"], wait=3, workers=3)
    assert sorted({(device, process) for _, device, process in begun[:3]}) == sorted(
        (device, process) for _, device, process in begun[:3]
    )
    assert sorted(device for _, device, _ in begun[:3]) == GPUS
    assert len({process for _, _, process in begun}) == 3, "three workers, each with one device for all its steps"
    assert len({(device, process) for _, device, process in begun}) == 3


def test_who_comes_for_a_dead_worker_takes_its_device(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIE", "a")
    begun = given(trace, ["a", "b", "c", "d"], wait=4, workers=3)
    of = {name: device for name, device, _ in begun}
    assert of["d"] == of["a"] and {of["b"], of["c"], of["d"]} == set(GPUS)
