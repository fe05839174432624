"""Disks that are full, read-only or gone, clocks that go backwards: a clear error, nothing lost, the same command
goes on.
"""

import errno
import io
import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.engine import Outcome
from bench.fingerprint import FileHashes
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.progress import Display
from bench.store import Store
from bench.work import _silent
from bench.worker import Task
from bench.worker import attempt as attempt_task
from tests.bench.conftest import RUN
from tests.faults.conftest import Disk

# ---- every write call fails in turn ----

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_failing: dict[str, Any] = {}  # folder, countdown, error number


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Fails the n-th call that writes below a folder; audit hooks see every open, mkdir, rename and link."""
    if not _failing or event not in {"open", "os.mkdir", "os.rename", "os.link"}:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
        return
    if not str(arguments[0]).startswith(_failing["folder"]):
        return
    _failing["left"] -= 1
    if _failing["left"] == 0:
        raise OSError(_failing["errno"], os.strerror(_failing["errno"]), str(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def failing(folder: Path, call: int, number: int) -> Iterator[None]:
    _failing.update(folder=str(folder), left=call, errno=number)
    try:
        yield
    finally:
        _failing.clear()


def attempt(store: Store) -> tuple[Any, ...]:
    task = Task("writer", "writer_body", 1, "a step", "f" * 64, {"name": "x"}, {}, {}, {})
    return attempt_task(task, store, "cpu", 1, _silent)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_whichever_write_fails_it_is_said_and_the_next_attempt_is_whole(writer, tmp_path: Path, number: int) -> None:
    words, calls = {errno.ENOSPC: "disk is full", errno.EROFS: "only be read", errno.EDQUOT: "quota"}[number], 0
    for call in range(1, 100):
        store = Store(tmp_path / f"store{call}")
        store.part("locks")
        with failing(store.root, call, number):
            message = attempt(store)
            reached = _failing["left"] <= 0
        if not reached:
            break
        if message[0] == "done":  # a folder that was there already
            continue
        calls += 1
        assert message[0] == "failed" and words in message[1] and "same command again" in message[1], message
        assert not store.has("writer", "f" * 64)
        assert attempt(store)[0] == "done" and store.damage("writer", "f" * 64) is None
        left = [p for name in ("tmp", "scratch") for p in (store.root / name).glob("*")]
        assert not left, left
    assert calls >= 8, "the lock, its owner, temporary, scratch, checkpoint, files, manifest, the renames"


# ---- real file systems ----


def chain(count: int, **config: Any) -> Graph:
    graph, before = Graph(), None
    for k in range(count):
        inputs = {"in": before} if before else {}
        before = graph.add(Step("writer", f"step {k}", {"name": str(k), **config}, inputs))
    return graph


def run(graph: Graph, root: Path) -> Outcome:
    return LocalEngine(Store(root), 1, ["cpu"], 1, Display(1, stream=io.StringIO())).run(graph)


def test_a_full_disk_stops_a_run_and_room_lets_it_go_on(writer, disk: Disk) -> None:
    graph, store = chain(5, numbers=60_000, length=50_000), disk.folder / "store"  # 0.6 MB a step, on 2 MB
    outcome = run(graph, store)
    assert 1 <= len(outcome.costs) <= 3
    (words,) = outcome.failed.values()
    assert "No space left on device: the disk is full: free some space" in words
    assert all(Store(store).damage("writer", f) is None for f in outcome.costs)
    disk.remount("size=20m")
    again = run(graph, store)
    assert again.complete and again.reused == set(outcome.costs)


def test_a_read_only_store_can_be_used_but_not_filled(writer, disk: Disk) -> None:
    store = disk.folder / "store"
    assert run(chain(2), store).complete
    disk.remount("ro")
    assert len(run(chain(2), store).reused) == 2
    (words,) = run(chain(3), store).failed.values()
    assert "Read-only file system: it can only be read" in words
    disk.remount("rw")
    assert run(chain(3), store).complete


def test_a_run_on_a_full_disk_says_so_and_exits_1(toy: Path, disk: Disk, capsys) -> None:
    blob = disk.folder / "blob"
    with pytest.raises(OSError), blob.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert main([*RUN, "--store", str(disk.folder / "store"), "--out", str(disk.folder / "run")]) == 1
    told = capsys.readouterr().err
    assert "disk is full" in told and "same command again" in told and "Traceback" not in told
    blob.unlink()
    disk.remount("size=30m")
    assert main([*RUN, "--store", str(disk.folder / "store"), "--out", str(disk.folder / "run")]) == 0


def test_a_finished_store_that_is_read_only_gives_a_report_elsewhere(toy: Path, disk: Disk) -> None:
    assert main([*RUN, "--store", str(disk.folder / "store")]) == 0
    disk.remount("ro")
    assert main([*RUN, "--store", str(disk.folder / "store"), "--out", "elsewhere"]) == 0
    assert (toy / "elsewhere" / "report.html").is_file()


# ---- what is taken away ----


def test_a_store_that_vanishes_is_not_made_again_in_its_place(writer, tmp_path: Path) -> None:
    store = tmp_path / "store"
    graph = Graph()
    first = graph.add(Step("writer", "first", {"name": "a"}))
    graph.add(Step("writer", "taken away", {"name": "b"}, {"in": first}, {"removes": str(store)}))
    outcome = run(graph, store)
    assert len(outcome.failed) == 1
    assert not store.exists(), "a share that is mounted again would hide what was written below it"
    later = Graph()
    first = later.add(Step("writer", "first", {"name": "a"}))
    later.add(Step("writer", "taken away", {"name": "b"}, {"in": first}))
    Path(f"{store}.away").rename(store)
    again = run(later, store)
    assert again.complete and first.fingerprint in again.reused


def test_a_step_that_starts_without_a_store_says_what_happened(writer, tmp_path: Path) -> None:
    message = attempt(Store(tmp_path / "gone", make=False))
    assert message[0] == "failed" and "is not there any more" in message[1]


def test_an_input_that_was_removed_is_made_again(writer, tmp_path: Path) -> None:
    graph = chain(3)
    assert run(graph, tmp_path / "store").complete
    steps = list(graph)
    store = Store(tmp_path / "store")
    store.remove("writer", steps[2].fingerprint)

    class Takes(Display):
        """Removes the input once the plan counts on it."""

        def start(self, every: Sequence[Step], reused: Collection[str]) -> None:
            super().start(every, reused)
            assert steps[1].fingerprint in reused
            store.remove("writer", steps[1].fingerprint)

    outcome = LocalEngine(store, 1, ["cpu"], 1, Takes(1, stream=io.StringIO())).run(graph)
    assert outcome.complete and store.has("writer", steps[1].fingerprint)


def test_a_run_folder_that_vanishes_is_written_again(done: Path) -> None:
    import shutil

    shutil.rmtree(done / "runs" / "question-profile")
    assert main(RUN) == 0
    assert (done / "runs" / "question-profile" / "records.jsonl").is_file()


# ---- bytes that the disk changed ----


def flip(path: Path) -> None:
    """A bit of the file, its time as before: nothing but its content tells."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_flipped_byte_in_an_input_is_found_and_the_step_done_again(writer, tmp_path: Path) -> None:
    graph = chain(3)
    steps, store = list(graph), Store(tmp_path / "store")
    assert run(graph, store.root).complete
    store.remove("writer", steps[2].fingerprint)
    before = (store.folder("writer", steps[1].fingerprint) / "a.txt").read_bytes()
    flip(store.folder("writer", steps[1].fingerprint) / "a.txt")
    stream = io.StringIO()
    outcome = LocalEngine(Store(store.root), 1, ["cpu"], 1, Display(1, stream=stream)).run(graph)
    assert outcome.complete and set(outcome.costs) == {steps[1].fingerprint, steps[2].fingerprint}
    assert "DAMAGED step 1 (writer " in stream.getvalue() and "changed since it was written: a.txt" in stream.getvalue()
    assert (store.folder("writer", steps[1].fingerprint) / "a.txt").read_bytes() == before
    assert Store(store.root).check() == (3, [])


RESULTS = [("score", "records.json"), ("claims", "claims.json"), ("aggregate", "records.json")]


@pytest.mark.parametrize("kind, name", RESULTS)
def test_a_flipped_byte_in_a_result_is_found_before_it_is_reported(done: Path, kind: str, name: str, capsys) -> None:
    records = (done / "runs" / "question-profile" / "records.jsonl").read_bytes()
    path = sorted((done / "runs" / "store" / "artifacts" / kind).glob(f"*/{name}"))[0]
    flip(path)
    (done / "runs" / "question-profile" / "report.html").unlink()  # else there is nothing to do
    assert main(RUN) == 0
    assert (done / "runs" / "question-profile" / "records.jsonl").read_bytes() == records


def test_a_flipped_byte_in_what_the_report_tells_of_clips_is_found(done: Path, capsys) -> None:
    path = sorted((done / "runs" / "store" / "artifacts" / "clips").glob("*/items.json"))[0]
    flip(path)
    (done / "runs" / "question-profile" / "report.html").unlink()
    assert main(RUN) == 1
    assert "changed since it was written: items.json" in capsys.readouterr().err
    assert main(RUN) == 0  # the artifact was removed: it is made again


def test_weights_that_change_while_a_run_is_under_way_are_noticed(writer, tmp_path: Path) -> None:
    from bench.graph import File

    weights = tmp_path / "w.safetensors"
    weights.write_text("one")
    graph = Graph()
    graph.add(Step("writer", "a step", {"name": "a"}, {"vae": File(weights, FileHashes().sha256(weights))}))
    weights.write_text("two")
    (words,) = run(graph, tmp_path / "store").failed.values()
    assert words.startswith(str(weights)) and "changed after the plan was made" in words


# ---- clocks ----


def test_a_clock_set_back_loses_nothing(writer, tmp_path: Path) -> None:
    """Everything in the store is dated tomorrow: it is read once by content, used, and never cleaned away."""
    graph, store = chain(2), Store(tmp_path / "store")
    assert run(graph, store.root).complete
    store.scratch("e" * 64).mkdir(parents=True)
    tomorrow = time.time() + 86400
    for path in [store.root, *store.root.rglob("*")]:
        os.utime(path, (tomorrow, tomorrow))
    assert len(run(graph, store.root).reused) == 2
    assert list(store.leftovers()) == []


def test_a_file_dated_in_the_future_is_hashed_each_time(tmp_path: Path) -> None:
    """Its time says nothing: it could change again without another one."""
    path, hashes = tmp_path / "w", FileHashes(tmp_path / "hashes.json")
    path.write_text("one")
    future = time.time() + 3600
    os.utime(path, (future, future))
    first = hashes.sha256(path)
    path.write_text("two")
    os.utime(path, (future, future))
    assert hashes.sha256(path) != first


def test_costs_are_whole_numbers_of_time_whatever_the_clock_does(writer, tmp_path: Path, monkeypatch) -> None:
    graph = chain(1)
    run(graph, tmp_path / "store")
    manifest = Store(tmp_path / "store").manifest("writer", next(iter(graph)).fingerprint)
    assert manifest and manifest["costs"]["seconds"] >= 0
    assert json.dumps(manifest)
