"""How much memory do scores take as videos grow in number? Measured: `python -m bench.metrics.memory [FEW MANY]`.

Each line is a process of its own, whose peak resident memory (VmHWM) is told: FVD of features that arrive in batches
and are forgotten, KVD of features in a file, and the `features` step over a file of clips. None should grow with the
number of batches but by what the allocator does on its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.metrics.statistics import Array

FEW, MANY = 256, 8192  # batches
BATCH, DIM = 4, 64  # features in a batch, and of a clip
CLIP = (8, 32, 32, 3)


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def batches(count: int, seed: int) -> Iterator[Array]:
    """`count` batches of features (BATCH, DIM)."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.normal(size=(BATCH, DIM))


def fvd(count: int, _folder: Path) -> float:
    """From batches that are seen once."""
    from bench.metrics.frechet import frechet_distance
    from bench.metrics.statistics import Statistics

    sides = [Statistics(DIM), Statistics(DIM)]
    for seed, side in enumerate(sides):
        for batch in batches(count, seed):
            side.update(batch)
    return frechet_distance(sides[0].gaussian(), sides[1].gaussian())


def kvd(count: int, folder: Path) -> float:
    """From features in two files, written batch by batch."""
    from bench.metrics.kernel import streamed_distance
    from bench.metrics.rowfile import RowReader, RowWriter

    paths = [folder / "x.safetensors", folder / "y.safetensors"]
    for seed, path in enumerate(paths):
        with RowWriter(path, {"features": (count * BATCH, DIM)}) as writer:
            for index, batch in enumerate(batches(count, seed)):
                writer.write("features", index * BATCH, batch)
    with RowReader(paths[0], "features") as x, RowReader(paths[1], "features") as y:
        return streamed_distance(x, y)


def step(count: int, folder: Path) -> float:
    """The `features` step with the tiny world's networks, over `count` clips of noise."""
    from bench.metrics.rowfile import RowReader
    from bench.steps import features
    from bench.work import Work
    from datasets.framefile import FramesWriter

    rng, clips, out = np.random.default_rng(0), folder / "clips", folder / "out"
    clips.mkdir()
    out.mkdir()
    with FramesWriter(clips / "clips.safetensors") as writer:
        for _ in range(count):
            writer.append(rng.integers(0, 256, CLIP, dtype=np.uint8))
    items = [{"id": f"{k}", "prompt": "", "group": None} for k in range(count)]
    (clips / "items.json").write_text(json.dumps(items))
    weights = Path(__file__).parents[2] / "weights" / "tiny"
    video = {"network": "tiny-i3d", "input": "as_made", "eps": None, "bytes": "as they are"}
    config = {
        "count": count,
        "micro_batch": 32,
        "video": video,
        "image": "tiny-perceptual",
        "motion": False,
        "clip": None,
    }
    inputs = {"clips": clips, "conditions": clips}
    inputs |= {role: weights / f"{role}.safetensors" for role in ("classifier", "perceptual")}
    features.run(Work(config, inputs, out, folder))
    with RowReader(out / "features.safetensors", "features") as found:
        return float(found.read(count - 1, count).mean())


PARTS: dict[str, Callable[[int, Path], float]] = {"fvd": fvd, "kvd": kvd, "step": step}
WORDS = {
    "fvd": f"FVD, batches of {BATCH} x {DIM} features",
    "kvd": f"KVD, features in a file, {BATCH} x {DIM} a batch",
    "step": "step `features`, clips (8 x 32 x 32), 32 at a time",
}


def measure(part: str, count: int) -> float:
    """Peak resident memory (MB) of a process that does one part over `count` batches (clips, for "step")."""
    command = [sys.executable, "-m", "bench.metrics.memory", part, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def main(words: list[str]) -> None:
    """Prints the table, or, given a part and a count, the peak of doing just that here."""
    if words and words[0] in PARTS:
        with tempfile.TemporaryDirectory() as folder:
            value = PARTS[words[0]](int(words[1]), Path(folder))
        print(f"{peak():.1f} {value:.6g}")
        return
    few, many = (int(word) for word in words) if words else (FEW, MANY)
    print(f"| part | {few} batches | {many} batches | difference |\n|---|---|---|---|")
    for part, told in WORDS.items():
        low, high = measure(part, few), measure(part, many)
        print(f"| {told} | {low:.0f} MB | {high:.0f} MB | {high - low:+.1f} MB |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
