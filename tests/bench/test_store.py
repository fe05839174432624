"""The store: what is in it is whole, whatever happened to those who wrote."""

import json
import os
import time
from pathlib import Path

import pytest

from bench.errors import StoreError, UsageError
from bench.housekeeping import collect
from bench.store import MANIFEST, Store

F = "a" * 64
ABOUT = {"version": 1, "label": "toy", "config": {}, "inputs": {}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, fingerprint: str = F, text: str = "content") -> Path:
    temporary = store.begin(fingerprint)
    (temporary / "deep").mkdir()
    (temporary / "deep" / "a.txt").write_text(text)
    return store.commit("toy", fingerprint, temporary, ABOUT, {"seconds": 1.0})


def test_an_artifact_is_there_only_once_it_is_committed(store: Store) -> None:
    temporary = store.begin(F)
    (temporary / "a.txt").write_text("half")
    assert not store.has("toy", F)
    (store.scratch(F)).mkdir(parents=True)
    folder = store.commit("toy", F, temporary, ABOUT, {})
    assert store.has("toy", F)
    assert (folder / "a.txt").read_text() == "half"
    assert not temporary.exists() and not store.scratch(F).exists()
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["files"]["a.txt"]["size"] == 4


def test_an_interrupted_write_leaves_nothing_that_is_read(store: Store) -> None:
    temporary = store.begin(F)
    (temporary / "a.txt").write_text("half")
    (temporary / MANIFEST).write_text("{")
    assert not store.has("toy", F)
    again = store.begin(F)
    assert not temporary.exists() and again.is_dir()


DAMAGE = {
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST).write_text('{"schema": 1'),
    "another manifest": lambda folder: (folder / MANIFEST).write_text("[]"),
    "a file is missing": lambda folder: (folder / "deep" / "a.txt").unlink(),
    "a file is cut": lambda folder: (folder / "deep" / "a.txt").write_text("cut"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_artifact_counts_as_absent_and_is_replaced(store: Store, damage) -> None:
    folder = put(store)
    damage(folder)
    assert not store.has("toy", F)
    assert (put(store, text="new content") / "deep" / "a.txt").read_text() == "new content"
    assert store.has("toy", F)


def test_a_changed_byte_is_found_by_check_alone(store: Store) -> None:
    folder = put(store)
    (folder / "deep" / "a.txt").write_text("c0ntent")
    assert store.has("toy", F)
    whole, problems = store.check()
    assert whole == 0
    assert [(p.kind, p.fingerprint, p.words) for p in problems] == [
        ("toy", F, "changed since it was written: deep/a.txt")
    ]


def test_the_first_of_two_writers_wins(store: Store) -> None:
    one, two = store.begin(F), store.root / "tmp" / "other"
    two.mkdir()
    for folder, text in ((one, "first"), (two, "second")):
        (folder / "a.txt").write_text(text)
    store.commit("toy", F, one, ABOUT, {})
    folder = store.commit("toy", F, two, ABOUT, {})
    assert (folder / "a.txt").read_text() == "first"
    assert not two.exists()


def test_an_artifact_holds_plain_files_only(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="left no files"):
        store.commit("toy", F, store.begin(F), ABOUT, {})
    temporary = store.begin(F)
    (temporary / "link").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="not a plain file"):
        store.commit("toy", F, temporary, ABOUT, {})


def test_a_lock_is_held_by_one(store: Store) -> None:
    from filelock import Timeout

    with store.lock(F), pytest.raises(Timeout):
        store.lock(F).acquire(blocking=False)


def test_cleaning_removes_damage_and_old_leftovers_but_not_work_in_progress(store: Store) -> None:
    put(store)
    damaged = put(store, "b" * 64)
    (damaged / "deep" / "a.txt").unlink()
    old, busy, new = store.begin("c" * 64), store.begin("d" * 64), store.begin("e" * 64)
    for folder in (old, busy):
        os.utime(folder, (time.time() - 7200,) * 2)
    with store.lock("d" * 64):
        lines = list(collect(store, [], dry_run=True))
        assert damaged.exists() and old.exists()
        lines = list(collect(store, []))
    assert lines[0].startswith("damaged toy/bbbbbbbbbbbb") and lines[-1].startswith("1 artifacts removed")
    assert [f.exists() for f in (damaged, old, busy, new)] == [False, False, True, True]
    assert store.has("toy", F)


def test_unused_artifacts_go_only_when_asked_and_runs_are_known(store: Store, tmp_path: Path) -> None:
    put(store)
    put(store, "b" * 64)
    run = tmp_path / "run"
    run.mkdir()
    (run / "plan.json").write_text(json.dumps({"steps": [{"fingerprint": F}]}))
    with pytest.raises(UsageError, match="everything would go"):
        list(collect(store, [], unused=True))
    with pytest.raises(UsageError, match=r"no readable plan\.json"):
        list(collect(store, [tmp_path], unused=True))
    assert next(iter(collect(store, [run], unused=True))).startswith("unused toy/bbbb")
    assert store.has("toy", F) and not store.has("toy", "b" * 64)
