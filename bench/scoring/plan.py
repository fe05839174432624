"""Which steps score somebody's videos? The run's own, with `collect` in the place of training and sampling.

    clips (reference) -------------------+-> features -----------+
        |   +-> baseline -> features ----|-----------------------|-> score
    collect (videos) -> features --------+-----------------------+
    pictures (inputs) -> features

Steps that a run has too get the run's fingerprints, so what a run has decoded or measured is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data_steps import baseline_step, clips_step, world_step
from bench.fingerprint import FileHashes, digest
from bench.graph import File, Graph, Step
from bench.measure import ENDS_OF, aggregate_step, claims_step, features_step, score_step
from bench.plan import ResolvedProtocol
from bench.profile import Profile
from bench.scoring.conditions import Conditions
from bench.scoring.frames import Shape
from bench.scoring.matching import Item, Matched
from bench.scoring.sources import Reference
from bench.sources import Sources

BASELINES = ("real", "static", "another")  # those that need no model
COLLECT_COST, PICTURE_COST = 0.05, 0.01  # rough CPU seconds of one video, one picture


@dataclass(frozen=True)
class System:
    """Whose videos: `name` as in records and folders, `label` as tables say it; seed None: not known, or all."""

    name: str
    label: str
    question: str = "score"
    role: str = "variant"
    seed: int | None = None


@dataclass
class SetPlan:
    """One data set: videos, what they are compared with, and what is already known of them.

    `world`: as a record says it, 'tiny' (procedural) or 'real'.
    """

    dataset: str
    root: Path
    matched: Matched
    reference: Reference | None
    conditions: Conditions | None
    world: str = "real"
    collect: dict[str, Step] = field(default_factory=dict)  # by protocol, as those below
    pictures: dict[str, Step] = field(default_factory=dict)
    clips: dict[str, Step] = field(default_factory=dict)  # of the reference
    alike: dict[str, Step] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """The numbers of one set of clips, or of all seeds together, under one protocol.

    Args:
        score: the step that leaves records.json.
        reference: features of the real clips, None where nothing is compared with them.
        clips, features: of one set; None for all seeds together.
        metrics: which of the step's records are told.
        notes: what to say of its videos; None: it is worked out from the set's steps.
    """

    system: System
    of: SetPlan
    protocol: ResolvedProtocol
    score: Step
    reference: Step | None = None
    clips: Step | File | None = None
    features: Step | None = None
    metrics: Callable[[str], bool] = field(default=lambda metric: True)
    notes: tuple[str, ...] | None = None


@dataclass
class ScorePlan:
    """The graph of a score, and where in it the numbers will be."""

    profile: Profile
    sources: Sources
    protocols: list[ResolvedProtocol]
    samples: int
    graph: Graph = field(default_factory=Graph)
    sets: list[SetPlan] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)


def shape_of(protocol: ResolvedProtocol) -> Shape:
    """The size and length that a protocol scores."""
    values = protocol.config["values"]
    height, width = values["size"]
    short = str(values.get("generated_short", "set aside")).replace(" ", "_")
    return Shape(int(values["frames"]), int(height), int(width), short)


def given_samples(questions: Mapping[str, Any], question: str) -> int | None:
    """How many clips a question of a run was given at most; None: as many as the run has."""
    found = (questions.get(question) or {}).get("samples")
    return int(found) if found else None


def ends_asked(questions: Mapping[str, Any], question: str) -> dict[str, tuple[str, ...]]:
    """What is measured of the ends of each variant's clips, and ("") of others'; {} where no variant has a task."""
    variants = (questions.get(question) or {}).get("variants", {})
    tasks = {name: about.get("overrides", {}).get("task", "animate") for name, about in variants.items()}
    if set(tasks.values()) <= {"animate"}:
        return {}
    return {"": ENDS_OF["animate"], **{name: ENDS_OF[task] for name, task in tasks.items()}}


class Steps:
    """Makes the steps of a score of the first `samples` clips and adds them to one graph."""

    def __init__(self, plan: ScorePlan, device: str, hashes: FileHashes, samples: int | None = None) -> None:
        self.plan, self.profile, self.hashes, self.device = plan, plan.profile, hashes, device
        self.samples = min(plan.samples, samples or plan.samples)

    def limited(self, samples: int | None) -> Steps:
        """The same for a question that was given fewer clips (None: all), in the same graph."""
        return Steps(self.plan, self.device, self.hashes, samples)

    def machine(self, kind: str) -> dict[str, Any]:
        """What of the machine changes the bits of a step, as `bench/planner.py` says it."""
        told = {"device": self.device, "threads": self.profile.execution.threads}
        precision = self.profile.execution.precision
        plain = kind == "features" or precision == "float32" or self.device == "cpu"
        return told if plain else {**told, "precision": precision}

    def add(
        self,
        kind: str,
        label: str,
        config: dict[str, Any],
        inputs: Mapping[str, Step | File],
        cost: float,
        local: dict[str, Any] | None = None,
    ) -> Step:
        """One step, or the equal one that is there."""
        return self.plan.graph.add(Step(kind, label, config, inputs, local or {}, cost, 0.0))

    # ---- real clips ----

    def clips(self, reference: Reference, protocol: ResolvedProtocol) -> Step:
        """The reference's clips: twice as many as are scored, so that real can be compared with real."""
        dataset, data = reference.dataset, reference.data
        profile, sources = self._sized(protocol), Sources({}, {dataset: data} if data else {})
        world = self.plan.graph.add(world_step(profile)) if data is None else None
        return self.plan.graph.add(clips_step(profile, sources, dataset, world))

    def _sized(self, protocol: ResolvedProtocol) -> Profile:
        """The profile with the clips of a protocol, all of them."""
        shape, stride = shape_of(protocol), int(protocol.config["values"]["frame_stride"])
        size = {"frames": shape.frames, "height": shape.height, "width": shape.width, "frame_stride": stride}
        clip = self.profile.clip.model_copy(update=size)
        return self.profile.model_copy(update={"clip": clip, "samples": self.plan.samples})

    def baseline(self, dataset: str, name: str, clips: Step) -> Step:
        """Clips that no model made."""
        step = baseline_step(self.profile, self.machine("baseline"), dataset, name, clips, self.samples)
        return self.plan.graph.add(step)

    # ---- videos of others ----

    def collect(self, label: str, items: Sequence[Item], shape: Shape, reference: Step | None) -> Step:
        """The frames of some videos; with a reference, those that answer its first `samples` clips."""
        config: dict[str, Any] = {"items": [self._told(item) for item in items], "shape": vars(shape)}
        files = {
            item.id: {"path": str(item.output.path), "pictures": [str(path) for path in item.output.pictures]}
            for item in items
        }
        if reference is not None:
            config["count"] = self.samples
        inputs: dict[str, Step | File] = {"reference": reference} if reference is not None else {}
        return self.add("collect", f"collect {label}", config, inputs, len(items) * COLLECT_COST, {"files": files})

    def _told(self, item: Item) -> dict[str, str]:
        content = self._content(item.output.files)
        return {"id": item.id, "name": item.output.name, "prompt": item.prompt, "content": content}

    def _content(self, files: Sequence[Path]) -> str:
        return digest([self.hashes.sha256(path) for path in files])

    def pictures(self, label: str, items: Sequence[Item], shape: Shape) -> Step:
        """The input images of some videos, which must all have one."""
        paths = {item.id: item.input for item in items if item.input is not None}
        config = {
            "items": [{"id": name, "content": self._content([path])} for name, path in paths.items()],
            "height": shape.height,
            "width": shape.width,
        }
        local = {"files": {name: str(path) for name, path in paths.items()}}
        return self.add("pictures", f"inputs {label}", config, {}, len(paths) * PICTURE_COST, local)

    def alike(self, label: str, collect: Step, reference: Step | None, pictures: Step | None) -> Step:
        """What looks as it should not."""
        named = {"generated": collect, "reference": reference, "inputs": pictures}
        inputs: dict[str, Step | File] = {role: step for role, step in named.items() if step is not None}
        return self.add("alike", f"look at {label}", {"count": self.samples}, inputs, self.samples * 0.002)

    # ---- numbers ----

    def features(
        self,
        label: str,
        protocol: ResolvedProtocol,
        clips: Step | File,
        conditions: Step | File | None,
        count: int | None = None,
        real: bool = False,
        ends: Sequence[str] = (),
    ) -> Step:
        """What the measuring networks say of the first `count` clips (None: as many as the reference has).

        ends: what is measured of the ends of clips; `conditions` are then whole clips, which end as they should.
        """
        plan, count = self.plan, self.samples if count is None else count
        machine = self.machine("features")
        about = (protocol, self.profile, plan.sources, machine, label, clips, conditions, count)
        return plan.graph.add(features_step(*about, real=real, ends=ends))

    def reference(
        self, protocol: ResolvedProtocol, dataset: str, clips: Step | File, ends: Sequence[str] = ()
    ) -> Step:
        """What the measuring networks say of the real clips."""
        conditions = clips if ends else None
        return self.features(f"reference {dataset}", protocol, clips, conditions, real=True, ends=ends)

    def score(
        self,
        label: str,
        protocol: ResolvedProtocol,
        dataset: str,
        features: Step,
        reference: Step | None,
        comparison: str,
        seed: int | None,
    ) -> Step:
        """The numbers of some features."""
        samples = self.samples
        step = score_step(protocol, self.profile, label, dataset, samples, features, reference, comparison, seed)
        return self.plan.graph.add(step)

    def aggregate(
        self, label: str, protocol: ResolvedProtocol, dataset: str, seeds: Mapping[int, Step], reference: Step
    ) -> Step:
        """The mean over training seeds."""
        samples = self.samples
        return self.plan.graph.add(aggregate_step(protocol, self.profile, label, dataset, samples, seeds, reference))

    def claims(
        self,
        protocol: ResolvedProtocol,
        question: str,
        dataset: str,
        claims: Sequence[Mapping[str, Any]],
        inputs: Mapping[str, Step | File],
    ) -> Step:
        """Verdicts on a question's claims; inputs are "reference" and "<variant>.seed_<seed>"."""
        seeds = sorted({int(role.rpartition("_")[2]) for role in inputs if role != "reference"})
        label = f"claims {question} {dataset} {protocol.name}"
        step = claims_step(protocol, self.profile, question, dataset, self.samples, seeds, claims, inputs, label)
        return self.plan.graph.add(step)
