"""`python -m tests.faults.load COUNT FOLDER`: features, then scores, of COUNT tiny clips; prints seconds and memory.

Run as a process of its own, so that its highest memory is that of this work alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.graph import Step
from bench.runner import Options, prepare
from bench.steps import features, score
from bench.work import Work
from datasets.framefile import FramesWriter

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (8, 32, 32, 3)


def clips(folder: Path, count: int, seed: int) -> None:
    """A clips artifact of moving noise, written clip by clip."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    bank = rng.integers(0, 256, (64, *SHAPE), dtype=np.uint8)
    with FramesWriter(folder / "clips.safetensors") as frames:
        for k in range(count):
            frames.append(np.roll(bank[k % 64], k // 64, axis=2))
    items = [{"id": f"v{k}", "video": f"v{k}", "prompt": "a cat", "group": None} for k in range(count)]
    (folder / "items.json").write_text(json.dumps(items))


def steps(count: int) -> tuple[Step, Step]:
    """The features step and the score step of a smoke plan."""
    spec = ROOT / "ablations" / "dual_stream.yaml"
    prepared = prepare(Options(specs=(spec,), profile="smoke", store=Path("/nonexistent")))
    scored = prepared.plan.variants["dual_stream", "full"].scored["ucf101", 0]
    return scored.features, scored.score


def do(step: Step, module: Any, folder: Path, inputs: dict[str, Path], **changes: Any) -> Path:
    """One step's body, in a folder of its own."""
    weights = {role: source.path for role, source in step.inputs.items() if not isinstance(source, Step)}
    out = folder / "out"
    out.mkdir(parents=True)
    module.run(Work({**step.config, **changes}, {**weights, **inputs}, out, folder / "scratch"))
    return out


def work(count: int, folder: Path) -> Iterator[tuple[str, float]]:
    """(what, its number): CPU seconds of both steps, highest memory of the process in MB."""
    of_features, of_score = steps(count)
    for name, seed in (("real", 0), ("made", 1)):
        clips(folder / name, count, seed)
    began = time.process_time()
    for name in ("real", "made"):
        given = {"clips": folder / name, "conditions": folder / "real"}
        do(of_features, features, folder / f"{name} features", given, count=count)
    yield "features_seconds", time.process_time() - began
    began = time.process_time()
    measured = {"generated": folder / "made features" / "out", "reference": folder / "real features" / "out"}
    do(of_score, score, folder / "score", measured)
    yield "score_seconds", time.process_time() - began
    yield "peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(dict(work(int(sys.argv[1]), Path(sys.argv[2])))))
