"""What would a step cost on paper? Operations, seconds on a device, and on several devices that do it together.

Operations are counted (models/flops.py): training, sampling, encoding, reconstruction. Their seconds on a GPU are
operations over the share of the peak rate that is reached; every other step takes what the profile's `costs` say, and
so does every step on a CPU. Where a run was measured, its own seconds per unit of work replace both (`Rates`).
Peak rates: dense bf16 or fp16, no sparsity, as the makers' data sheets give them; links: one direction, a GPU.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from bench.data_steps import clip_count
from bench.errors import UsageError
from bench.graph import Step
from bench.profile import Profile, model_preset
from bench.variants import model_from_json
from models import flops

BRANCHES = {"none": 1, "single": 2, "two_scale": 3}
NETWORK = ("encode", "train", "sample", "features", "baseline")  # kinds that want a GPU where there is one
STARTS = {"encode": 1.0, "train": 1.0, "sample": 1.0, "features": 0.5}  # of `costs.start`: networks are loaded
ACROSS = 50e9  # bytes a second that a GPU sends to another machine: 400 Gbit/s a GPU, as clusters of such GPUs have
NODE = 8  # GPUs of one machine


@dataclass(frozen=True)
class Gpu:
    """What a data sheet says of a GPU."""

    peak: float  # operations a second
    link: float  # bytes a second to the other GPUs of its machine


GPUS = {
    "v100": Gpu(125e12, 150e9),
    "rtx4090": Gpu(165e12, 25e9),
    "l40s": Gpu(362e12, 25e9),
    "a100": Gpu(312e12, 300e9),
    "h100": Gpu(989e12, 450e9),
    "h200": Gpu(989e12, 450e9),
    "b200": Gpu(2250e12, 900e9),
}


@dataclass(frozen=True)
class Rates:
    """Seconds per unit of work of each kind of step, as a run measured them: per operation, or per planned second."""

    per_operation: Mapping[str, float] = field(default_factory=dict)
    per_planned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Assumed:
    """On what a plan would be done.

    Args:
        devices: GPUs, or cores of a CPU.
        ranks: devices that do one step together.
        gpu: a name of GPUS; None: a CPU.
        efficiency: share of the peak rate that networks reach.
        price: dollars for one GPU for one hour; None: not told.
        rates: what a run measured, in the place of the profile's costs.
    """

    devices: int
    ranks: int = 1
    gpu: str | None = None
    efficiency: float = 1.0
    price: float | None = None
    rates: Rates = Rates()

    @property
    def at_once(self) -> int:
        """Steps done at the same time."""
        return max(1, self.devices // self.ranks)

    @property
    def speed(self) -> float | None:
        """Operations a second of one GPU; None for a CPU."""
        return None if self.gpu is None else GPUS[self.gpu].peak * self.efficiency


def read_rates(run: Path, profile: Profile) -> Rates:
    """What the steps of a finished run took per unit of their work. Raises UsageError where that is not told.

    Of a GPU seconds by the clock count, of a CPU its own: a machine that others use too slows the clock alone. What
    the profile says that a step takes to start is set aside; give a run of minutes, not of seconds.
    """
    seconds, start = "cpu_seconds" if _of_cpu(run) else "seconds", profile.costs.start
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for line in _costs(run):
        counted = float(line.get("operations") or 0) > 0
        unit = "operations" if counted else "planned_seconds"
        if unit in line:
            one = sums[line["kind"], unit]
            spent = float(line[seconds]) - start * STARTS.get(line["kind"], 0.0)
            one[0], one[1] = one[0] + max(0.0, spent), one[1] + float(line[unit])
    if not sums:
        raise UsageError(f"--rates {run}: its costs.jsonl does not tell the work of a step; give a run of this version")
    found = {key: spent / work for key, (spent, work) in sums.items() if work > 0}
    return Rates(
        {kind: rate for (kind, unit), rate in found.items() if unit == "operations"},
        {kind: rate for (kind, unit), rate in found.items() if unit == "planned_seconds"},
    )


def _of_cpu(run: Path) -> bool:
    try:
        return str(json.loads((run / "environment.json").read_text(encoding="utf-8"))["device"]) == "cpu"
    except (OSError, ValueError, KeyError):
        raise UsageError(f"--rates {run}: no folder of a finished run (environment.json, costs.jsonl)") from None


def _costs(run: Path) -> list[dict[str, Any]]:
    try:
        lines = (run / "costs.jsonl").read_text(encoding="utf-8").splitlines()
        return [dict(json.loads(line)) for line in lines]
    except (OSError, ValueError):
        raise UsageError(f"--rates {run}: no folder of a finished run (environment.json, costs.jsonl)") from None


# ---- one step ----


class Costing:
    """Costs of a plan's steps under one assumption; each operation count is made once."""

    def __init__(self, profile: Profile, assumed: Assumed) -> None:
        self.profile, self.assumed = profile, assumed
        self._counter = OperationCounter(profile)

    def operations(self, step: Step) -> float:
        """Of the whole step; 0 where they are not counted."""
        return self._counter(step)

    def on_gpu(self, step: Step) -> bool:
        """Whether a GPU does it."""
        return self.assumed.gpu is not None and step.kind in NETWORK

    def alone(self, step: Step) -> float:
        """Seconds on one device (of a CPU: CPU seconds)."""
        count, rates, speed = self.operations(step), self.assumed.rates, self.assumed.speed
        start = self._start(step)
        if count and step.kind in rates.per_operation:
            return start + count * rates.per_operation[step.kind]
        if not count and step.kind in rates.per_planned:
            return start + step.cost * rates.per_planned[step.kind]
        return start + (count / speed if count and speed else step.cost)

    def together(self, step: Step) -> float:
        """Seconds when `ranks` devices do the step: whole shards each, and in training the exchange of gradients."""
        ranks, parts = self.assumed.ranks, shards(step)
        if ranks == 1 or parts == 1:
            return self.alone(step)
        start = self._start(step)
        alone = self.alone(step) - start
        return start + alone * ceil(parts / ranks) / parts + self._exchange(step, min(ranks, parts))

    def _start(self, step: Step) -> float:
        return self.profile.costs.start * STARTS.get(step.kind, 0.0)

    def _exchange(self, step: Step, ranks: int) -> float:
        """Seconds in which each rank sends and receives every gradient once and every sum once (a ring, float32)."""
        if step.kind != "train":
            return 0.0
        gpu = GPUS.get(self.assumed.gpu or "")
        link = ACROSS if ranks > NODE or gpu is None else gpu.link
        trained = flops.trained_parameters(model_from_json(step.config["model"]), step.config["groups"])
        return float(step.config["steps"] * 2 * (ranks - 1) / ranks * 4 * trained / link)


def shards(step: Step) -> int:
    """Into how many parts of fixed shape a step falls, which devices can do side by side."""
    config = step.config
    if step.kind == "train":
        return int(config["batch"] // config["micro_batch"])
    if step.kind == "sample":
        return sampled(step)
    if step.kind in ("encode", "features"):
        return max(1, ceil((config["count"] or 1) / config["micro_batch"]))
    return 1


def sampled(step: Step) -> int:
    """Clips of a `sample` step: as many as were encoded for it."""
    encoded = step.inputs.get("encoded")
    return int(encoded.config["count"] or 0) if isinstance(encoded, Step) else 0


class OperationCounter:
    """Operations of a step; equal networks are counted once."""

    def __init__(self, profile: Profile) -> None:
        self.profile, self.model = profile, model_preset(profile.model)
        self._known: dict[str, float] = {}

    def __call__(self, step: Step) -> float:
        """Operations of the whole step, 0 where they are not counted."""
        ways = {"train": self._train, "sample": self._sample, "encode": self._encode, "baseline": self._baseline}
        return ways[step.kind](step) if step.kind in ways else 0.0

    def _train(self, step: Step) -> float:
        config = step.config
        if "groups" not in config or "model" not in config:
            return 0.0
        key = json.dumps(["train", config["model"], config["groups"], config.get("gradient_checkpointing", False)])
        if key not in self._known:
            model = model_from_json(config["model"])
            again = flops.forward_flops(model) if config.get("gradient_checkpointing") else 0.0
            self._known[key] = again + flops.training_flops(model, config["groups"])
        encoded = "shards" not in step.inputs  # else each clip is encoded when it is drawn
        frozen = 0.0 if encoded else flops.clip_encoding_flops(self.model, self.model.frames)
        return float(config["steps"] * config["batch"] * (self._known[key] + frozen))

    def _sample(self, step: Step) -> float:
        config = step.config
        if "model" not in config or "sampler" not in config:  # another system's clips
            return 0.0
        steps, guidance = config["sampler"]["steps"], config["sampler"]["guidance"]
        key = json.dumps(["sample", config["model"], steps, guidance])
        if key not in self._known:
            model = model_from_json(config["model"])
            self._known[key] = flops.sampling_flops(model, steps, BRANCHES[guidance])
        return sampled(step) * self._known[key]

    def _encode(self, step: Step) -> float:
        images = 1 if step.config.get("tokens") == "first" else self.model.frames
        count = step.config.get("count") or clip_count(self.profile, "train")
        return float(count * flops.clip_encoding_flops(self.model, images))

    def _baseline(self, step: Step) -> float:
        if step.config.get("baseline") != "reconstruction":
            return 0.0
        frame = flops.decoding_flops(self.model.autoencoder, self.model.height, self.model.width)
        return float(step.config["count"] * self.model.frames * frame)
