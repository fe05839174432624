"""Ray tasks: what a killed worker had done is kept, errors are not tried again, bytes are the local engine's."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import engines
from bench import graph as graphs
from bench.cli import main
from bench.engine import Outcome
from bench.engines import Machines
from bench.errors import UsageError
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.progress import Display
from bench.store import Store
from tests.bench.conftest import furnish

# Ray reads its settings when it is imported: nothing here imports it before the engine does.
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra [ray] is not installed")
ROOT = Path(__file__).resolve().parents[2]
BODY = """
import json, os, time
from pathlib import Path
VERSION = 1

def run(work):
    name, trace = work.config["name"], Path(os.environ["TRACE"])
    with trace.open("a") as file:
        file.write(f"{name} {os.getpid()} {os.environ['OMP_NUM_THREADS']} {time.time()}\\n")
    if name in os.environ.get("FAIL", "").split():
        raise ValueError(f"{name} cannot be done")
    saved = work.scratch / "half.json"
    begun = json.loads(saved.read_text())["begun"] + 1 if saved.exists() else 1
    saved.write_text(json.dumps({"begun": begun}))
    if begun <= work.config.get("dies", 0):
        os.kill(os.getpid(), 9)
    time.sleep(work.config.get("sleep", 0))
    told = {role: json.loads((path / "out.json").read_text())["name"] for role, path in work.inputs.items()}
    work.progress(1, 2, "half")
    with trace.open("a") as file:
        file.write(f"{name}-ends {os.getpid()} 0 {time.time()} {begun}\\n")
    (work.out / "out.json").write_text(json.dumps({"name": name, "inputs": told}))
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_kinds: None) -> Iterator[Path]:
    """Steps of kind "part" write there when they begin and end."""
    (tmp_path / "part_body.py").write_text(BODY)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("TRACE", str(tmp_path / "trace.txt"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    graphs.register_kind("part", "part_body")
    yield tmp_path / "trace.txt"


def part(graph: Graph, name: str, *parents: Step, dies: int = 0, sleep: float = 0.0) -> Step:
    inputs = {f"in{k}": parent for k, parent in enumerate(parents)}
    return graph.add(Step("part", name, {"name": name, "dies": dies, "sleep": sleep}, inputs))


def lines(trace: Path, name: str) -> list[list[str]]:
    return [line.split() for line in trace.read_text().splitlines() if line.split()[0] == name]


def artifacts(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted((store / "artifacts").rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def whole() -> tuple[Graph, dict[str, Step]]:
    """A graph with all that may go wrong: "killed" loses its worker once, "wrong" raises, "read" reads "damaged"."""
    graph = Graph()
    made: dict[str, Step] = {}
    for name, dies, parents in (
        ("first", 0, ()), ("left", 0, ("first",)), ("killed", 1, ("first",)), ("last", 0, ("left", "killed")),
        ("damaged", 0, ()), ("read", 0, ("damaged",)), ("wrong", 0, ()), ("never", 0, ("wrong",)),
    ):  # fmt: skip
        sleep = {"first": 0.0, "wrong": 0.0, "left": 4.0}.get(name, 0.7)  # the others begin while "left" goes on
        made[name] = part(graph, name, *(made[p] for p in parents), dies=dies, sleep=sleep)
    return graph, made


class Watching(Display):
    """Notes where the cluster listens as soon as a step is handed out."""

    addresses: list[str]

    def begin(self, step: Step) -> None:
        import ray

        super().begin(step)
        self.addresses = [node["NodeManagerAddress"] for node in ray.nodes()]


def by_ray(folder: Path, graph: Graph, stream: io.StringIO, workers: int = 2) -> tuple[Outcome, list[str]]:
    from bench.ray_engine import RayEngine

    display = Watching(workers, stream=stream)
    engine = RayEngine(Store(folder), Machines("cpu", ("cpu",), workers), None, 1, display)
    return engine.run(graph), display.addresses


def by_processes(folder: Path, graph: Graph) -> Outcome:
    return LocalEngine(Store(folder), 2, ["cpu"], 1, Display(2, stream=io.StringIO())).run(graph)


def spoil(folder: Path, step: Step) -> None:
    """Changes a byte of an artifact in a way that its content alone shows."""
    file = Store(folder).folder(step.kind, step.fingerprint) / "out.json"
    stat = file.stat()
    file.write_bytes(file.read_bytes().replace(b"damaged", b"DAMAGED"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.slow
@needs_ray
def test_a_run_with_a_killed_worker_a_damaged_input_and_an_error(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "wrong")
    graph, steps = whole()
    by_processes(tmp_path / "store", only(steps["damaged"]))
    spoil(tmp_path / "store", steps["damaged"])
    seen = io.StringIO()
    outcome, addresses = by_ray(tmp_path / "store", graph, seen)
    assert outcome.failed == {steps["wrong"].fingerprint: "ValueError: wrong cannot be done"}
    assert outcome.skipped == {steps["never"].fingerprint} and not outcome.reused
    done = {steps[name].fingerprint for name in ("first", "left", "killed", "last", "damaged", "read")}
    assert set(outcome.costs) == done and outcome.peak_memory_mb > 0
    assert len(lines(trace, "wrong")) == 1, "an error of the step itself is not tried again"
    assert len(lines(trace, "killed")) == 2 and lines(trace, "killed-ends")[0][4] == "2", "it went on from its scratch"
    assert "LOST killed: the worker process died" in seen.getvalue() and "(1 of 3)" in seen.getvalue()
    assert "DAMAGED damaged" in seen.getvalue() and len(lines(trace, "damaged")) == 2
    assert {line[2] for line in lines(trace, "first")} == {"1"}, "threads are pinned before anything is imported"
    began, ended = float(lines(trace, "left")[0][3]), float(lines(trace, "left-ends")[0][3])
    others = lines(trace, "damaged") + lines(trace, "killed")
    assert any(began < float(line[3]) < ended for line in others), "two at once"
    assert addresses == ["127.0.0.1"], "nothing of a cluster of our own listens beyond this machine"
    assert no_cluster_is_left(), "the cluster ends with the run"
    monkeypatch.delenv("FAIL")
    monkeypatch.setenv("TRACE", str(tmp_path / "other.txt"))
    by_processes(tmp_path / "local", only(*(steps[name] for name in ("first", "damaged", "read"))))
    assert artifacts(tmp_path / "local").items() <= artifacts(tmp_path / "store").items()


def only(*steps: Step) -> Graph:
    graph = Graph()
    for step in steps:
        graph.add(step)
    return graph


def no_cluster_is_left(seconds: float = 20) -> bool:
    """Whether every process of a cluster that this one started has ended."""
    mine = str(os.getpid())
    for _ in range(int(seconds / 0.5)):
        found = subprocess.run(["pgrep", "-P", mine, "-f", "raylet|gcs_server"], capture_output=True, text=True).stdout
        if not found.strip():
            return True
        time.sleep(0.5)
    return False


@pytest.mark.slow
@needs_ray
def test_ctrl_c_leaves_a_run_that_goes_on_with_another_engine_to_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_kinds: None
) -> None:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("BENCH_TOY_LOG", str(tmp_path / "kinds.txt"))
    command = [sys.executable, "-m", "tests.bench.toys", "run", "question.yaml", "--profile", "./profile.yaml"]
    command += ["--workers", "2", "--engine"]
    monkeypatch.setenv("BENCH_TOY_SLOW", "sample")
    stopped = subprocess.Popen([*command, "ray", "--out", "a", "--store", "s"], stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "kinds.txt", "sample", stopped)
    stopped.send_signal(signal.SIGINT)
    assert "stopped by SIGINT. Finished steps are kept" in stopped.communicate(timeout=60)[1]
    assert stopped.returncode == 130
    monkeypatch.delenv("BENCH_TOY_SLOW")
    for engine, out, store in (("local", "a", "s"), ("ray", "b", "t")):
        subprocess.run([*command, engine, "--out", out, "--store", store], check=True, timeout=200)
    for name in ("records.jsonl", "claims.jsonl", "plan.json", "table.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert artifacts(tmp_path / "s") == artifacts(tmp_path / "t")


def wait_for(path: Path, word: str, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if path.exists() and word in path.read_text().split():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)
    raise AssertionError(f"no step {word} has begun")


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert main(["run", "question.yaml", "--profile", "./profile.yaml", "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert said == "--engine ray: the package ray is not installed. Give: .venv/bin/pip install -e '.[ray]'\n"


@needs_ray
def test_ray_client_and_a_cluster_that_is_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.ray_engine import connect

    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UsageError, match=r"Ray Client is not used\. Start the run on a machine of the cluster"):
        connect(1, 1, "cpu")
    for nowhere in ("127.0.0.1:1", "[::1]:99999"):  # Ray alone tries for minutes, and says nothing meanwhile
        monkeypatch.setenv("RAY_ADDRESS", nowhere)
        with pytest.raises(UsageError, match="no Ray cluster answers there"):
            connect(1, 1, "cpu")


@needs_ray
def test_gpus_go_to_the_steps_whose_networks_run_on_them() -> None:
    from bench.ray_engine import needs_gpu

    assert needs_gpu(Step("train", "t", {"machine": {"device": "cuda", "threads": 1}}))
    assert not needs_gpu(Step("train", "t", {"machine": {"device": "cpu", "threads": 1}}))
    assert not needs_gpu(Step("score", "s", {}))


CLUSTER = """
import io, os, sys, threading
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
from pathlib import Path
from ray.cluster_utils import Cluster
from bench import graph as graphs
from bench.engines import find_machines
from bench.graph import Graph
from bench.profile import Execution
from bench.progress import Display
from bench.ray_engine import RayEngine
from bench.store import Store
from tests.bench.test_ray_engine import part

graphs.register_kind("part", "part_body")
small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
other = cluster.add_node(**small)
os.environ["RAY_ADDRESS"] = cluster.address
machines = find_machines("ray", Execution())
assert (machines.kind, machines.workers) == ("cpu", 2), machines
graph, folder = Graph(), Path(sys.argv[1])
for name in ("x", "y"):
    part(graph, name, sleep=4)
display = Display(2, stream=sys.stdout)
engine = RayEngine(Store(folder / "store"), machines, None, 1, display)

def lose() -> None:
    while len((folder / "trace.txt").read_text().split()) < 8 if (folder / "trace.txt").exists() else True:
        threading.Event().wait(0.1)
    cluster.remove_node(other, allow_graceful=False)

threading.Thread(target=lose, daemon=True).start()
assert engine.run(graph).complete
cluster.shutdown()
"""


@pytest.mark.slow
@needs_ray
def test_a_node_of_a_running_cluster_that_is_lost_costs_no_more_than_its_step(trace: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    (lost,) = [line for line in done.stdout.splitlines() if line.startswith("LOST")]
    again = lost.split()[1].rstrip(":")
    assert len(lines(trace, again)) == 2 and lines(trace, f"{again}-ends")[0][4] == "2"
    (kept,) = {"x", "y"} - {again}
    assert len(lines(trace, kept)) == 1
