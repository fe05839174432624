"""Which steps bring another system's clips into a run? Its pipeline is sampled, or its videos are collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.graph import File, Step
from bench.plan import EvaluationSet, ResolvedProtocol
from bench.scoring.plan import COLLECT_COST, shape_of
from bench.systems import Given, Videos
from bench.variants import Settings
from models.external.rules import Sampler

NOT_TRAINED = "not trained: no training videos are given; --data train=DIR trains it"
SECONDS = 0.5  # of one denoising step of one clip, on a core; nobody knows another system's speed before it ran


def sampler_of_system(settings: Settings) -> Sampler:
    """How a variant samples another system."""
    steps = None if settings.system_steps is None else int(settings.system_steps)
    return Sampler(steps, settings.system_size, settings.system_time)


def external_step(
    name: str,
    settings: Settings,
    given: Given,
    dataset: str,
    evaluation: EvaluationSet,
    seed: int,
    machine: Mapping[str, Any],
) -> Step:
    """One clip per reference clip from another system's pipeline."""
    assert given.pipeline is not None and given.rules is not None, "called for pipelines"
    sampler = sampler_of_system(settings)
    config = {
        "system": given.name,
        "rules": {**asdict(given.rules), "own_size": list(given.rules.own_size)},
        "sampler": asdict(sampler) | {"steps": sampler.steps or given.adapter.steps},
        "words": dict(given.adapter.words),
        "content": given.pipeline.digest,
        "seed": seed,
        "dataset": dataset,
        "count": evaluation.samples,
        "machine": dict(machine),
    }
    inputs: dict[str, Step | File] = {"model": given.pipeline, "clips": evaluation.clips}
    cost = evaluation.samples * (sampler.steps or given.adapter.steps) * SECONDS
    return Step("external", f"sample {name} {dataset} seed {seed}", config, inputs, {}, cost, evaluation.samples * 1e5)


def collect_step(
    name: str, dataset: str, videos: Videos, protocol: ResolvedProtocol, evaluation: EvaluationSet
) -> Step:
    """The frames of a system's videos that answer the reference's clips."""
    config = {"items": list(videos.items), "shape": vars(shape_of(protocol)), "count": evaluation.samples}
    inputs: dict[str, Step | File] = {"reference": evaluation.clips}
    cost = len(videos.items) * COLLECT_COST
    return Step("collect", f"collect {name} {dataset}", config, inputs, {"files": dict(videos.files)}, cost, 0.0)


def about_system(given: Given, dataset_names: tuple[str, ...]) -> tuple[str, ...]:
    """What a reader must know of a system that is given."""
    if given.pipeline is not None:
        what = f"{given.adapter.label} out of its {given.adapter.pipeline}, sha256 {given.pipeline.digest[:12]}"
        return (f"{what}: not trained here, seeds are of the noise alone",)
    absent = [name for name in dataset_names if name not in given.videos]
    said = [
        f"a folder of videos ({', '.join(given.videos)}), matched by id and measured as they came: one set, so nothing "
        "is known of the system's own seeds; in claims it stands beside each seed of the others"
    ]
    said += [f"{dataset}: {note}" for dataset, videos in given.videos.items() for note in videos.notes]
    return (*said, *(f"no videos of {name}: not given, not measured" for name in absent))
