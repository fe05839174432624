"""What would a plan come to on machines that are not here? Operations, GPU hours, time by the clock, disk, dollars.

Works before any data or checkpoint is given: sizes come from the profile, operations from models/flops.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.costs import GPUS, NETWORK, Assumed, Costing, Rates, read_rates
from bench.errors import UsageError, known
from bench.graph import Graph, Step
from bench.profile import Profile
from bench.progress import duration
from bench.schedule import Timetable, timetable


@dataclass(frozen=True)
class Asked:
    """What the command line said of machines; None: as the profile says, or as this machine is."""

    gpu: str | None = None
    gpus: int | None = None
    ranks: int | None = None
    efficiency: float | None = None
    price: float | None = None
    rates: Path | None = None


def assumed_of(asked: Asked, profile: Profile, workers: int) -> Assumed:
    """The machines of a plan. Raises UsageError with every error at once."""
    costs = profile.costs
    gpu = asked.gpu or costs.gpu
    devices, ranks = asked.gpus or workers, asked.ranks or 1
    efficiency, price = asked.efficiency or costs.efficiency, asked.price or costs.dollars_per_gpu_hour
    errors = [
        f"{option} is {value}; allowed: {least} or more"
        for option, value, least in (("--gpus", asked.gpus, 1), ("--ranks", asked.ranks, 1), ("--price", price, 0))
        if value is not None and value < least
    ]
    if gpu is not None and gpu not in GPUS:
        errors.append(f"--gpu is '{gpu}'. {known(gpu, GPUS)}")
    if asked.efficiency is not None and not 0 < asked.efficiency <= 1:
        errors.append(f"--efficiency is {asked.efficiency}; allowed: above 0, to 1")
    if ranks > devices:
        errors.append(f"--ranks is {ranks}, of {devices} devices; give --gpus {ranks} or more")
    if gpu is None and (asked.efficiency is not None or asked.price is not None):
        errors.append(f"--efficiency and --price are of a GPU, and profile {profile.name} plans for a CPU: give --gpu")
    if asked.gpu is not None and asked.efficiency is None and costs.gpu is None:
        words = f"profile {profile.name} does not say what share of a GPU's peak rate is reached"
        errors.append(f"--gpu {asked.gpu}: {words}; give --efficiency")
    if errors:
        raise UsageError(errors)
    rates = read_rates(asked.rates, profile) if asked.rates else Rates()
    return Assumed(devices, ranks, gpu, efficiency if gpu else 1.0, price, rates)


@dataclass(frozen=True)
class Paper:
    """A plan's sums. Hours of GPUs count the ranks of a step as long as it lasts; `held` is all of them to the end."""

    costing: Costing
    times: Timetable
    operations: dict[str, float]  # by kind
    gpu_seconds: float
    disk: float

    @property
    def assumed(self) -> Assumed:
        """On what it would be done."""
        return self.costing.assumed

    @property
    def held_seconds(self) -> float:
        """Of all devices from the first step to the last."""
        return self.assumed.devices * self.times.wall

    def dollars(self, seconds: float) -> float | None:
        """What so many seconds of a GPU cost; None where no price is given."""
        return None if self.assumed.price is None else self.assumed.price * seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        assumed = self.assumed
        return {
            "gpu": assumed.gpu,
            "devices": assumed.devices,
            "ranks": assumed.ranks,
            "efficiency": assumed.efficiency if assumed.gpu else None,
            "operations": self.operations,
            "gpu_hours": round(self.gpu_seconds / 3600, 3),
            "wall_seconds": round(self.times.wall, 1),
            "longest_chain_seconds": round(self.times.longest, 1),
            "longest_chain": [step.label for step in self.times.chain],
            "width": round(self.times.width, 2),
            "bytes": round(self.disk),
            "price": assumed.price,
            "dollars_used": _cents(self.dollars(self.gpu_seconds)),
            "dollars_held": _cents(self.dollars(self.held_seconds)),
        }


def _cents(dollars: float | None) -> float | None:
    return None if dollars is None else round(dollars, 2)


def on_paper(graph: Graph, todo: Sequence[Step], costing: Costing) -> Paper:
    """The sums of the steps that are still to do."""
    seconds = {step.fingerprint: 0.0 for step in graph} | {s.fingerprint: costing.together(s) for s in todo}
    operations: dict[str, float] = {}
    for step in todo:
        count = costing.operations(step)
        if count:
            operations[step.kind] = operations.get(step.kind, 0.0) + count
    ranks = costing.assumed.ranks
    gpu = sum(ranks * seconds[step.fingerprint] for step in todo if costing.on_gpu(step))
    times = timetable(graph, seconds, costing.assumed.at_once)
    return Paper(costing, times, operations, gpu, sum(step.disk for step in todo))


def paper_text(paper: Paper) -> str:
    """The sums for a person."""
    assumed, times = paper.assumed, paper.times
    what = "GPU" if assumed.gpu else "core"
    total = ", ".join(f"{kind} {_power(count)}" for kind, count in paper.operations.items())
    lines = [
        f"On paper: {_machines(assumed)}",
        f"  operations  {_power(sum(paper.operations.values()))} ({total})" if total else "",
        f"  GPU hours   {paper.gpu_seconds / 3600:,.1f}" if assumed.gpu else "",
        f"  wall time   {duration(times.wall)}",
        f"  longest     {duration(times.longest)}, whatever the number of {what}s: {_chain(times.chain)}",
        f"  width       all work is {times.width:.1f} times the longest chain: more than "
        f"{_devices(assumed, times)} {what}s shorten nothing",
        _money(paper),
    ]
    return "\n".join(line for line in lines if line)


def _devices(assumed: Assumed, times: Timetable) -> int:
    """How many devices the whole width keeps busy."""
    return max(1, -int(-times.width // 1)) * assumed.ranks


def _machines(assumed: Assumed) -> str:
    wide = f", {assumed.ranks} of them on one step" if assumed.ranks > 1 else ""
    if assumed.gpu is None:
        return f"{assumed.devices} cores{wide}"
    peak = GPUS[assumed.gpu].peak / 1e12
    return f"{assumed.devices} x {assumed.gpu} at {100 * assumed.efficiency:.3g} % of {peak:g} TFLOP/s{wide}"


def _power(count: float) -> str:
    for unit, size in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= size:
            return f"{count / size:,.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count / 1e9:.3g} GFLOP"


def _chain(steps: Sequence[Step]) -> str:
    """Its long steps, first to last."""
    named = [step.label for step in steps if step.kind in NETWORK]
    return " -> ".join(named[:6] + (["..."] if len(named) > 6 else [])) or "-"


def _money(paper: Paper) -> str:
    used, held = paper.dollars(paper.gpu_seconds), paper.dollars(paper.held_seconds)
    if used is None or held is None:
        return ""
    return (
        f"  dollars     {used:,.2f} for the GPU hours, {held:,.2f} where all are held to the end, at "
        f"{paper.assumed.price:g} for a GPU and hour"
    )
