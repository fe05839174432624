"""Toy steps for the tests of faults, and small file systems where this machine lets us mount them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import graph
from tests.bench.conftest import done, done_once, toy, toy_kinds  # noqa: F401  # fixtures

ROOT = Path(__file__).resolve().parents[2]
BODY = """
import os, time
import numpy as np
from pathlib import Path
from safetensors.numpy import save_file
VERSION = 1

def run(work):
    if work.config.get("removes"):
        os.rename(work.config["removes"], work.config["removes"] + ".away")
        time.sleep(work.config.get("sleep", 0))
    (work.scratch / "checkpoint").write_text("half")
    (work.out / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt"):
        (work.out / name).write_text(work.config["name"] * work.config.get("length", 10))
    save_file({"x": np.full(work.config.get("numbers", 10), 7.0)}, work.out / "x.safetensors")
"""


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_kinds: None) -> None:  # noqa: F811
    """Steps of kind "writer": two text files, one of tensors, and a checkpoint on the way."""
    (tmp_path / "writer_body.py").write_text(BODY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    graph.register_kind("writer", "writer_body")


class Disk:
    """A file system in memory of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, options: str) -> None:
        """Another size, or read-only."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """2 MB; skipped where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip(f"this user may not mount file systems: {made.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)
