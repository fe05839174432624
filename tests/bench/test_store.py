"""The store: what is in it is whole, whatever happened to those who wrote."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from bench.errors import StoreError, UsageError
from bench.housekeeping import collect, describe
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


def flip(path: Path, keep_time: bool) -> None:
    """One bit of a file; as a program would change it, or as a bad disk does, which leaves the time alone."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns if keep_time else stat.st_mtime_ns + 1))


def test_a_changed_byte_is_seen_when_the_file_was_written_to(store: Store) -> None:
    folder = put(store)
    flip(folder / "deep" / "a.txt", keep_time=False)
    assert not store.has("toy", F)
    assert (put(store, text="new content") / "deep" / "a.txt").read_text() == "new content"


def test_a_byte_that_the_disk_changed_is_seen_by_content(store: Store) -> None:
    folder = put(store)
    assert store.damage("toy", F) is None
    flip(folder / "deep" / "a.txt", keep_time=True)
    assert store.has("toy", F)  # a stat cannot tell
    words = "changed since it was written: deep/a.txt"
    assert Store(store.root).damage("toy", F) == words
    whole, problems = store.check()
    assert whole == 0 and [(p.kind, p.fingerprint, p.words) for p in problems] == [("toy", F, words)]


def test_a_byte_flipped_in_the_manifest_is_seen(store: Store) -> None:
    path = put(store) / MANIFEST
    path.write_text(path.read_text().replace('"seconds": 1.0', '"seconds": 3.0'))
    assert not store.has("toy", F)


def test_a_copied_store_is_read_once_and_then_cheap_again(store: Store, tmp_path: Path, monkeypatch) -> None:
    put(store)
    shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)  # without its times
    copy = Store(tmp_path / "copy")
    assert copy.has("toy", F)
    monkeypatch.setattr("bench.store.sha256_file", lambda path: pytest.fail("hashed again"))
    assert Store(tmp_path / "copy").has("toy", F)


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
    from bench.locks import Busy

    with store.lock(F), pytest.raises(Busy):
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


def test_what_a_registered_run_uses_stays_until_its_folder_is_deleted(store: Store, tmp_path: Path) -> None:
    put(store)
    run = tmp_path / "somewhere" / "run"
    run.mkdir(parents=True)
    store.register(run, [F])
    assert list(collect(store, [], unused=True)) == ["0 artifacts removed, 0 B freed"]
    run.rmdir()
    run.parent.rename(tmp_path / "not mounted")
    lines = list(collect(store, [], unused=True))
    assert f"run {run} cannot be reached: what it uses is kept" in lines and store.has("toy", F)
    run.parent.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    store.register(other, ["b" * 64])
    lines = list(collect(store, [], unused=True))
    assert f"run {run} was deleted: what it alone used counts as unused" in lines and not store.has("toy", F)


def test_checkpoints_that_a_run_will_go_on_from_stay_however_old(store: Store, tmp_path: Path) -> None:
    for name in ("a" * 64, "b" * 64, "c" * 64):
        folder = store.scratch(name)
        folder.mkdir(parents=True)
        (folder / "state").write_text("half a model")
        for path in (folder / "state", folder):
            os.utime(path, (time.time() - 9e6,) * 2)
    store.register(tmp_path, ["a" * 64, "b" * 64])
    put(store, "b" * 64)  # done: its scratch went with the commit
    lines = list(collect(store, []))
    assert f"kept scratch/aaaaaaaaaaaa: checkpoints that {tmp_path} will go on from" in lines
    assert store.scratch("a" * 64).exists() and not store.scratch("c" * 64).exists()


def test_a_damaged_artifact_that_a_step_is_making_again_is_left_to_it(store: Store) -> None:
    folder = put(store)
    (folder / "deep" / "a.txt").unlink()
    with store.lock(F):
        assert "at work on it" in next(iter(collect(store, [])))
    assert folder.exists()
    list(collect(store, []))
    assert not folder.exists()


def test_a_store_says_what_it_holds(store: Store, tmp_path: Path) -> None:
    put(store)
    put(store, "b" * 64)
    store.register(tmp_path, [F])
    store.scratch("c" * 64).mkdir(parents=True)
    lines = list(describe(store))
    assert lines[0].startswith("toy            2 artifacts,     1 of them used by a run, ")
    assert f"run {tmp_path}" in lines and "1 checkpoints of unfinished steps, 0 B" in lines


def test_what_is_damaged_is_said_in_words(store: Store) -> None:
    folder = put(store)
    (folder / "deep" / "a.txt").write_text("cut")
    assert store.damage("toy", F) == "deep/a.txt has 3 bytes, 7 were written"
    (folder / "deep" / "a.txt").unlink()
    assert store.damage("toy", F) == "deep/a.txt is missing"
    (folder / MANIFEST).unlink()
    assert store.damage("toy", F) == "its manifest.json is missing or cannot be read"
