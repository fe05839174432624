"""Runs under torchrun: the bytes of an ordinary run on 1, 2 and 3 ranks, also when one is killed or fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import hostile
from tests.faults.digest import differences
from tests.reproducibility.record import artifacts

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SPEC = 'question: Does it come out the same?\nsource: "a test"\nvariants:\n  full: {label: "DynamiCrafter"}\n'
CHANGES = {  # so that ranks have something to share, and not always a share each
    "micro_batch: 4": "micro_batch: 1",
    "iii: {steps: 2}": "iii: {steps: 4}",
    "samples: 8": "samples: 5",
    "batch: 8}": "batch: 2}",
    "previews: 4": "previews: 4\nbatches: {encode: 16, reconstruct: 16, features: 2}",
}


def furnish(folder: Path) -> list[str]:
    """The command's arguments; a spec and a profile."""
    text = hostile.PROFILE
    for old, new in CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shared.yaml").write_text(text)
    (folder / "same.yaml").write_text(SPEC)
    files = [str(folder / "same.yaml"), "--profile", str(folder / "shared.yaml")]
    return ["run", *files, "--out", str(folder / "run"), "--store", str(folder / "store"), "--quiet"]


def start(folder: Path, ranks: int, *torchrun: str, **variables: str) -> "subprocess.Popen[str]":
    """torchrun in a process group of its own; `ranks` 0: one ordinary process."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *torchrun]
    command = [*(launcher if ranks else [sys.executable]), "-m", "tests.fixtures.odd_rank", *furnish(folder)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def done(folder: Path, ranks: int, *torchrun: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    process = start(folder, ranks, *torchrun, **variables)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def same(one: Path, other: Path) -> list[str]:
    """What differs: artifacts, records, curves."""
    found = differences(artifacts(one), artifacts(other))
    names = ("records.jsonl", "curves.jsonl", "health.json", "spec.json", "table.csv")
    return found + [n for n in names if (one / "run" / n).read_bytes() != (other / "run" / n).read_bytes()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ordinary run."""
    folder = tmp_path_factory.mktemp("base")
    code, _, err = done(folder, 0)
    assert code == 0, err
    return folder


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_same_bytes_on_one_two_and_three_ranks(base: Path, ranks: int, tmp_path: Path) -> None:
    code, out, err = done(tmp_path, ranks, RANKS_TRACE=str(tmp_path / "trace"))
    assert code == 0, err
    assert out.count("report.html") == 1, "rank 0 alone speaks"
    assert same(base, tmp_path) == []
    shares: dict[str, Counter[str]] = {}
    for line in (tmp_path / "trace").read_text().splitlines():
        rank, kind = line.split()
        shares.setdefault(kind, Counter())[rank] += 1
    assert set(shares) == {"train", "encode", "sample", "features"}
    for kind, by_rank in shares.items():
        assert len(by_rank) == ranks and max(by_rank.values()) <= sum(by_rank.values()) / ranks + 40, kind
    assert shares["train"] == Counter({str(r): 8 * len(range(r, 4, ranks)) for r in range(ranks)}), "8 steps of 4"
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert told.get("ranks", 1) == ranks


def test_a_rank_that_is_killed_in_training_is_restarted_from_the_checkpoint(base: Path, tmp_path: Path) -> None:
    code, _, err = done(tmp_path, 2, "--max-restarts=1", RANKS_ODD="dies", RANKS_TRACE=str(tmp_path / "trace"))
    assert code == 0, err
    assert same(base, tmp_path) == []
    trained = Counter((tmp_path / "trace").read_text().splitlines())
    assert trained["1 train"] == 16 and trained["0 train"] in (16, 17, 18), "two steps of iii are not done again"
    assert len(json.loads((tmp_path / "run" / "attempts.json").read_text())["attempts"]) >= 1


def test_a_group_that_is_killed_goes_on_with_another_number_of_ranks(base: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    until = time.monotonic() + 300
    while not list((tmp_path / "store" / "scratch").glob("*/state.safetensors")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)  # torchrun starts its ranks in its own group
    process.communicate()
    code, _, err = done(tmp_path, 3)
    assert code == 0, err
    assert same(base, tmp_path) == []


def test_an_error_on_one_rank_stops_all_with_its_own_message(base: Path, tmp_path: Path) -> None:
    code, out, err = done(tmp_path, 2, RANKS_ODD="fails")
    assert code == 1 and "rank 1: ValueError: clip 3 looks odd from here" in err
    assert "Mend the cause and give the same command again" in err and "report.html" in out
    assert not list((tmp_path / "store" / "artifacts" / "features").glob("*"))
    assert list((tmp_path / "store" / "artifacts" / "sample").glob("*"))
    code, _, err = done(tmp_path, 2)
    assert code == 0, err
    assert same(base, tmp_path) == []


def test_a_rank_that_cannot_plan_stops_all_before_any_work(tmp_path: Path) -> None:
    code, _, err = done(tmp_path, 2, RANKS_ODD="raises")
    assert code == 1 and err.count("rank 1: there is no such disk here") == 1  # torchrun's own code is 1
    assert not (tmp_path / "store" / "artifacts").exists()


def test_ctrl_c_leaves_a_run_that_can_be_resumed(base: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    until = time.monotonic() + 300
    while not list((tmp_path / "store" / "artifacts" / "train").glob("*")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0 and "give the same command again to go on" in err
    code, _, err = done(tmp_path, 0)
    assert code == 0, err
    assert same(base, tmp_path) == []
