"""Where do training clips come from that no memory holds? From tar shards, decoded and encoded when needed.

Micro-batch m of every step is lane m of the stream (`datasets/lanes.py`): position step * B + row, so that what is
drawn depends on seed, stage and step alone, a checkpoint needs no more than its step to go on, and of several ranks
only the one that computes a micro-batch reads its shards. Lanes decode their next micro-batch while the model computes.
Shapes: B clips of a micro-batch; else as in `bench/encoded.py`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.encoded import Encoded
from bench.environment import cpu_cores
from bench.precision import arithmetic, of_step
from bench.seeding import generator, torch_seed
from bench.steps.clips import item_of, rule_of
from bench.steps.encode import ClipEncoder, told
from bench.train import TrainSettings, draw_rows
from bench.work import Work
from datasets.clip import BadVideo, Catalog, Clip
from datasets.lanes import Lane, Order
from datasets.select import ClipRule, draw_clip
from datasets.shards import Sample, Shards, read_shards
from models.losses import Draws, TrainBatch

NAME = "shards"  # of the data set, in the draws of clips
Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Streaming:
    """A streamed training set.

    Args:
        shards: where it lies.
        rule: which frames of a video make a clip; drawn anew in each epoch.
        encoder: the frozen networks.
        encode_batch: frames or prompts that they see at once.
        precision: of their arithmetic.
        window: samples of a lane that are shuffled among themselves, and held in memory.
        fs: what the model is told of a clip's speed (see `bench.steps.encode.told`).
        notes: folder for the names of videos that could not be used.
    """

    shards: Shards
    rule: ClipRule
    encoder: ClipEncoder
    encode_batch: int
    precision: str
    window: int
    fs: str | int | None
    notes: Path

    @classmethod
    def open(cls, work: Work) -> Streaming:
        """What a `train` step with the input `shards` is given. Raises ValueError when the shards are other ones."""
        asked = replace(work, config=work.config["stream"])
        shards = read_shards(work.inputs["shards"])
        if shards.digest != asked.config["content"]:
            raise ValueError(f"{shards.root} changed after the plan was made: give the same command again")
        return cls(
            shards=shards,
            rule=rule_of(asked.config["rule"]),
            encoder=ClipEncoder.load(asked),
            encode_batch=asked.config["micro_batch"],
            precision=of_step(asked.config),
            window=asked.config["window"],
            fs=asked.config.get("fs"),
            notes=work.scratch,
        )

    def source(self, settings: TrainSettings, timesteps: int, ends: bool) -> Streamed:
        """The micro-batches of a stage."""
        return Streamed(self, settings, timesteps, ends)


class Streamed:
    """The micro-batches of every step of a stage, out of a stream; see `bench.train.InMemory`."""

    def __init__(self, data: Streaming, settings: TrainSettings, timesteps: int, ends: bool) -> None:
        self.data, self.settings, self.timesteps, self.ends = data, settings, timesteps, ends
        size = (data.rule.height, data.rule.width)
        with arithmetic(data.precision, data.encoder.device):
            self.null_text, self.null_image_tokens = data.encoder.nulls(data.encode_batch, size)
        seed = torch_seed(settings.seed, "stream", settings.stage)
        self._order = Order(data.shards, settings.micro_batches, data.window, seed)
        self._decoders: dict[int, Decoder] = {}
        self._pool = ThreadPoolExecutor(max(1, cpu_cores()), thread_name_prefix="decode")
        self._ahead: dict[int, tuple[int, Future[list[Clip]]]] = {}  # lane -> step at work, its clips
        self._last: dict[int, tuple[int, Encoded]] = {}

    def micro(self, step: int, number: int) -> tuple[TrainBatch, Draws]:
        """Micro-batch `number` of the step after `step` steps, on the CPU: its clips and its random numbers."""
        done, encoded = self._last.get(number, (-1, None))
        if encoded is None or done != step:
            encoded = self._encode(self._decoded(step, number))
            self._last[number] = (step, encoded)
        rng = generator(self.settings.seed, "train", self.settings.stage, step, number)
        return draw_rows(encoded, torch.arange(len(encoded)), rng, self.settings, self.timesteps, self.ends)

    def _decoded(self, step: int, number: int) -> list[Clip]:
        """The clips of a micro-batch; those of the next step are begun."""
        begun, future = self._ahead.pop(number, (-1, None))
        if future is None or begun != step:
            if future is not None:
                future.result()  # a lane is read by one thread at a time
            future = self._begin(step, number)
        clips = future.result()
        if step + 1 < self.settings.steps:
            self._ahead[number] = (step + 1, self._begin(step + 1, number))
        return clips

    def _begin(self, step: int, number: int) -> Future[list[Clip]]:
        if number not in self._decoders:
            self._decoders[number] = Decoder(self.data, Lane(self._order, number))
        size = self.settings.micro_batch
        return self._pool.submit(self._decoders[number].clips, step * size, size)

    def _encode(self, clips: list[Clip]) -> Encoded:
        frames = np.stack([clip.frames for clip in clips])
        items = told([item_of(clip) for clip in clips], self.data.fs)
        with arithmetic(self.data.precision, self.data.encoder.device):
            return self.data.encoder(frames, items, self.data.encode_batch)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Decoder:
    """Turns the samples of one lane into clips; one that is bad is replaced by the next that is not, and noted."""

    def __init__(self, data: Streaming, lane: Lane) -> None:
        self.data, self.lane = data, lane
        self._catalog = Catalog(NAME, data.shards.root, ())
        self._file = data.notes / f"set_aside.{lane.number}.json"
        self._bad: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def clips(self, position: int, count: int) -> list[Clip]:
        """The clips at `count` positions from `position` on. Raises ValueError when all are bad."""
        return [self._clip(position + row) for row in range(count)]

    def _clip(self, position: int) -> Clip:
        for sample, epoch in self._candidates(position):
            if sample.video.id in self._bad:
                continue
            try:
                with as_file(sample) as path:
                    return draw_clip(self._catalog, replace(sample.video, path=path), epoch, self.data.rule)
            except BadVideo as bad:
                self._note(sample, bad.reason)
        some = "; ".join(f"{name}: {reason}" for name, reason in list(self._bad.items())[:5])
        raise ValueError(f"{self.data.shards.root}: not one video of lane {self.lane.number} can be used. {some}")

    def _candidates(self, position: int) -> Iterator[tuple[Sample, int]]:
        yield self.lane.sample(position)
        yield from self.lane.others(position)

    def _note(self, sample: Sample, reason: str) -> None:
        """Remembers a bad video beside the checkpoint: a run that was stopped tells of it too."""
        self._bad[sample.video.id] = reason
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(self._bad))
        aside.replace(self._file)


def set_aside(notes: Path) -> list[dict[str, str]]:
    """[{id, reason}] of all videos that lanes could not use, by id."""
    found: dict[str, str] = {}
    for path in notes.glob("set_aside.*.json"):
        found |= json.loads(path.read_text())
    return [{"id": name, "reason": reason} for name, reason in sorted(found.items())]


@contextmanager
def as_file(sample: Sample) -> Iterator[Path]:
    """A sample's bytes as a file of this process alone, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("clip", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as file:
            file.write(sample.data)
            file.flush()
            yield Path(f"/proc/self/fd/{number}")
        return
    with tempfile.NamedTemporaryFile(suffix=".mp4") as named:
        named.write(sample.data)
        named.flush()
        yield Path(named.name)
