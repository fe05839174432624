"""Where does the time of a step go: arithmetic, waiting for files, everything else? `python -m bench.shares`.

The very bodies of the steps `train` and `sample` of the tiny profile, on a CPU, over encoded clips that are made up.
In the model: forward and backward passes, the optimiser, the decoder; waiting: calls that read or write files; both
over the time of the step, its start included. In torch's operators: as its profiler counts them, over the time of
another run, under the profiler (which itself costs time, so the share is at least what is printed). All by the clock:
on a busy machine whatever waits for the disk looks longer than it is.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from bench import train as loop
from bench.encoded import Encoded
from bench.graph import Step
from bench.profile import ROOT
from bench.runner import Options, prepare
from bench.steps import sample, train
from bench.work import Work
from datasets.framefile import FramesWriter
from models.config import ModelConfig
from models.pipeline import Pipeline
from models.presets import tiny

PRIORS = {role: ROOT / "weights" / "tiny" / f"{role}.safetensors" for role in ("vae", "t2v", "stage_i_learned")}
CLIPS = 64


@dataclass(frozen=True)
class Share:
    """Of one step."""

    what: str
    seconds: float  # by the clock
    waiting: float  # of them, inside calls that read or write files
    model: float  # of them, inside forward and backward passes, the optimiser, the decoder
    operators: float  # share of the clock's time inside torch's operators, under the profiler

    def row(self) -> str:
        """Of a Markdown table."""
        return (
            f"| {self.what} | {self.seconds:.2f} s | {self.model / self.seconds:.1%} | {self.operators:.1%} "
            f"| {self.waiting / self.seconds:.2%} |"
        )


def encoded(model: ModelConfig, count: int, folder: Path) -> Path:
    """An artifact of the step `encode` that holds noise."""
    torch.manual_seed(0)
    f, clip = model.autoencoder.downsampling, model.clip
    latent = (count, 4, model.frames, model.height // f, model.width // f)
    tokens = (clip.image_tokens, clip.vision_width)
    made = Encoded(
        mean=torch.randn(latent),
        std=torch.rand(latent) / 10,
        image_tokens=torch.randn(count, model.frames, *tokens).half(),
        text=torch.randn(count, clip.text_length, clip.text_width).half(),
        fs=torch.full((count,), 3),
        null_text=torch.randn(1, clip.text_length, clip.text_width),
        null_image_tokens=torch.randn(1, *tokens),
    )
    folder.mkdir()
    made.save(folder)
    (folder / "items.json").write_text(json.dumps([{"id": str(k), "prompt": "", "fs": 3} for k in range(count)]))
    return folder


def planned(kind: str, label: str) -> Step:
    """A step of the tiny profile's plan."""
    with tempfile.TemporaryDirectory() as store:
        specs = (ROOT / "ablations" / "dual_stream.yaml",)
        graph = prepare(Options(specs=specs, store=Path(store), device="cpu")).plan.graph
    return next(step for step in graph if step.kind == kind and step.label == label)


FILES = (  # calls that read or write files
    *((sample, name) for name in ("load_encoded", "save_file", "load_pipeline")),
    *((train, name) for name in ("load_encoded", "starting_point", "save_tensors")),
    *((FramesWriter, name) for name in ("append", "close")),
    *((os, "fsync"), (loop, "save_tensors")),
)
MODEL = (  # calls that compute; what they draw at random inside is taken off
    *((loop, "training_loss"), (torch.Tensor, "backward"), (torch.optim.AdamW, "step")),
    *((Pipeline, "sample_latents"), (Pipeline, "decode")),
)
DRAWS = ((sample, "normal"),)


@contextmanager
def inside(places: Sequence[tuple[Any, str]], into: Counter[str]) -> Iterator[None]:
    """Counts the seconds inside calls."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                into[name] += time.perf_counter() - start  # type: ignore[assignment]

        return call

    patches = [patch.object(place, name, timed(name, getattr(place, name))) for place, name in places]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def share(what: str, body: Callable[[Work], None], work: Callable[[], Work]) -> Share:
    """Runs a step twice: once by the clock, once under the profiler."""
    files, model, draws = Counter[str](), Counter[str](), Counter[str]()
    with inside(FILES, files), inside(MODEL, model), inside(DRAWS, draws):
        start = time.perf_counter()
        body(work())
        seconds = time.perf_counter() - start
    told = work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        body(told)
        profiled = time.perf_counter() - start
    operators = sum(event.self_cpu_time_total for event in profiler.key_averages() if event.key.startswith("aten::"))
    computing = sum(model.values()) - sum(draws.values())
    return Share(what, seconds, sum(files.values()), computing, operators / 1e6 / profiled)


def works(folder: Path, step: Step, inputs: Mapping[str, Path], **changes: Any) -> Callable[[], Work]:
    """The step over other inputs, in new folders each time."""
    made = iter(range(1000))

    def work() -> Work:
        number = next(made)
        out, scratch = folder / f"out_{step.kind}_{number}", folder / f"scratch_{step.kind}_{number}"
        out.mkdir()
        scratch.mkdir()
        return Work({**step.config, **step.local, **changes}, inputs, out, scratch)

    return work


def measure(steps: int, clips: int) -> Iterator[Share]:
    """Training and sampling, each over so many optimiser steps or clips."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = encoded(tiny(), max(clips, CLIPS), folder / "encoded")
        given = {"encoded": data, "parent": PRIORS["t2v"], "trained": PRIORS["stage_i_learned"]}
        trained = works(folder, planned("train", "train full stage ii seed 0"), given, steps=steps)
        yield share(f"train, {steps} steps of 8 clips", train.run, trained)
        some = encoded(tiny(), clips, folder / "some")
        model = {"model": folder / "out_train_0", "clips": some, "encoded": some, "vae": PRIORS["vae"]}
        sampled = works(folder, planned("sample", "sample no_vdg ucf101 seed 0"), model)
        yield share(f"sample, {clips} clips of 9 steps", sample.run, sampled)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m bench.shares", description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps, N >= 1 [10]")
    parser.add_argument("--clips", type=int, default=16, help="clips sampled, N >= 1 [16]")
    options = parser.parse_args()
    if min(options.steps, options.clips) < 1:
        parser.error("--steps and --clips must be 1 or more")
    torch.set_num_threads(1)
    print(
        "| step | by the clock | in the model | in torch's operators | waiting for files |\n|---|---|---|---|---|",
        flush=True,
    )
    for one in measure(options.steps, options.clips):
        print(one.row(), flush=True)


if __name__ == "__main__":
    main()
