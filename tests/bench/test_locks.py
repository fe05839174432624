"""The lock: one holder, whatever the file system can do; who died does not keep it, who lives does not lose it."""

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench import locks
from bench.locks import Busy, Lock, Owner, read_owner

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time; from pathlib import Path; from bench.locks import Lock\n"
    "Lock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)\n"
)
COUNT = (
    "import errno, sys, time; from pathlib import Path; from bench import locks\n"
    "def no_locks(*_): raise OSError(errno.ENOLCK, 'none here')\n"
    "if sys.argv[2] == 'owner file alone': locks.fcntl.flock = no_locks\n"
    "locks.RETRY = 0.002\n"
    "for _ in range(15):\n"
    "    with locks.Lock(Path(sys.argv[1])):\n"
    "        path = Path(sys.argv[1]).with_name('count'); n = int(path.read_text())\n"
    "        time.sleep(0.001); path.write_text(str(n + 1))\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "step.lock"


@pytest.fixture
def no_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system without locks, or with locks of one machine only: the owner file decides."""

    def none(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)


def hold(path: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    return holder


def other_machine(path: Path) -> Owner:
    """An owner file as another machine would have left it; its process number means nothing here."""
    owner = replace(Owner.here(), place="another boot:pid:[1]", host="elsewhere")
    assert locks._create(path.with_suffix(".owner"), owner)
    return owner


@pytest.mark.parametrize("way", ["both layers", "owner file alone"])
def test_processes_that_count_one_after_another_lose_nothing(path: Path, way: str) -> None:
    (path.with_name("count")).write_text("0")
    command = [sys.executable, "-c", COUNT, str(path), way]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert (path.with_name("count")).read_text() == "45"
    assert sorted(p.name for p in path.parent.iterdir()) == ["count", "step.lock"]


@pytest.mark.parametrize("kernel", [True, False], ids=["both layers", "owner file alone"])
def test_a_living_holder_keeps_it_and_a_killed_one_does_not(path: Path, kernel: bool, request) -> None:
    holder = hold(path)
    if not kernel:
        request.getfixturevalue("no_kernel_locks")
    with pytest.raises(Busy, match=f"process {holder.pid} on"):
        Lock(path).acquire(blocking=False)
    holder.kill()
    holder.wait()
    lock = Lock(path)
    lock.acquire(blocking=False)
    lock.release()
    assert not path.with_suffix(".owner").exists()


def test_a_process_that_got_the_number_of_a_dead_one_is_not_its_owner(path: Path, no_kernel_locks: None) -> None:
    assert locks._create(path.with_suffix(".owner"), replace(Owner.here(), started="1"))
    Lock(path).acquire(blocking=False)


def test_an_owner_elsewhere_is_believed_while_its_file_is_touched(path, monkeypatch) -> None:
    """Its clock may say anything: only that the time changes counts, seen by our own clock."""
    monkeypatch.setattr(locks, "PATIENCE", 0.3)
    other_machine(path)
    owner = path.with_suffix(".owner")
    for k in range(8):
        os.utime(owner, (1e9 - k, 1e9 - k))  # years ago, and going backwards
        with pytest.raises(Busy, match="on elsewhere"):
            Lock(path).acquire(blocking=False)
        time.sleep(0.1)
    time.sleep(0.3)
    Lock(path).acquire(blocking=False)


def test_who_holds_it_touches_it(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    with Lock(path):
        owner = path.with_suffix(".owner")
        os.utime(owner, (1, 1))
        time.sleep(0.2)
        assert owner.stat().st_mtime > 1


def test_who_lost_it_leaves_the_new_owner_alone(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    lock, owner = Lock(path), path.with_suffix(".owner")
    lock.acquire()
    owner.unlink()
    taken = other_machine(path)
    os.utime(owner, (1, 1))
    time.sleep(0.1)
    assert owner.stat().st_mtime == 1  # not touched any more
    lock.release()
    assert read_owner(owner) == taken


def test_of_two_that_break_a_stale_owner_the_slower_one_gives_the_file_back(path: Path, monkeypatch) -> None:
    """Between looking and renaming another broke it and took the lock."""
    owner = path.with_suffix(".owner")
    alive = other_machine(path)
    told = iter([replace(Owner.here(), started="1")])  # what the slower one saw: a dead owner
    monkeypatch.setattr(locks, "read_owner", lambda where: next(told, None) or read_owner(where))
    assert not locks._break_stale(owner)
    assert read_owner(owner) == alive
    assert [p.name for p in path.parent.iterdir()] == ["step.owner"]


def test_a_torn_owner_file_is_waited_for_and_then_taken(path: Path, monkeypatch, no_kernel_locks: None) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    path.with_suffix(".owner").write_text('{"pla')
    with pytest.raises(Busy, match="another process"):
        Lock(path).acquire(blocking=False)
    time.sleep(0.15)
    Lock(path).acquire(blocking=False)


def test_a_file_system_without_hard_links_will_do(path: Path, monkeypatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    with Lock(path), pytest.raises(Busy):
        Lock(path).acquire(blocking=False)
    Lock(path).acquire(blocking=False)


def test_waiting_ends_when_the_holder_lets_go(path: Path) -> None:
    first = Lock(path)
    first.acquire()
    threading.Timer(0.1, first.release).start()
    began = time.monotonic()
    with Lock(path):
        assert time.monotonic() - began > 0.05


def test_a_folder_that_cannot_be_written_is_an_error_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "gone" / "step.lock").acquire()


def test_a_full_disk_leaves_no_half_owner_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, text: str, encoding: str) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "no space", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        Lock(path).acquire()
    assert [one.name for one in path.parent.iterdir() if "owner" in one.name] == []
