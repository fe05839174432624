"""Step `aggregate`: what a variant scores over its training seeds, with intervals over seeds and videos.

Inputs: reference and seed_0, seed_1, ... (features artifacts of the same videos). Leaves records.json and
extrapolation.json as `score` does; a value is the mean over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.guards import check_same_measurement
from bench.metrics.features import Sample, read_sample
from bench.metrics.records import Json, score_all, write_curves, write_json
from bench.metrics.uncertainty import over_seeds
from bench.protocol import Scoring
from bench.work import Work

VERSION = 3


def run(work: Work) -> None:
    """Scores every metric over the seeds of the config."""
    scoring = Scoring.read(work.config["protocol"])
    for seed in work.config["seeds"]:
        check_same_measurement(work.inputs[f"seed_{seed}"], work.inputs["reference"], work.config["protocol"])
    seeds = [read_sample(work.inputs[f"seed_{seed}"]) for seed in work.config["seeds"]]
    reference = read_sample(work.inputs["reference"])
    write_json(work.out / "records.json", aggregate(seeds, reference, scoring))
    write_curves(work.out, seeds, reference, scoring)


def aggregate(seeds: Sequence[Sample], reference: Sample, scoring: Scoring) -> list[Json]:
    """Records of the mean over training seeds, one per metric."""
    return score_all(scoring, seeds, reference, over_seeds)
