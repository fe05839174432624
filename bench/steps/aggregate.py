"""Step `aggregate`: what a variant scores over its training seeds, with intervals over seeds and videos.

Inputs: reference and seed_0, seed_1, ... (features artifacts of the same videos). Leaves records.json as
`score` does; a value is the mean over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics.features import Sample, read_sample
from bench.metrics.records import Json, make_record, write_json
from bench.metrics.uncertainty import METRICS, TooFew, Units, estimate, over_seeds
from bench.protocol import Scoring
from bench.work import Work

VERSION = 1


def run(work: Work) -> None:
    """Scores every metric over the seeds of the config."""
    scoring = Scoring.read(work.config["protocol"])
    seeds = [read_sample(work.inputs[f"seed_{seed}"]) for seed in work.config["seeds"]]
    reference = read_sample(work.inputs["reference"])
    write_json(work.out / "records.json", aggregate(seeds, reference, scoring))


def aggregate(seeds: Sequence[Sample], reference: Sample, scoring: Scoring) -> list[Json]:
    """Records of the mean over training seeds, one per metric."""
    units, records = Units(*seeds, reference), []
    for metric in METRICS:
        try:
            found = [estimate(metric, one, reference, units, scoring.settings) for one in seeds]
        except TooFew as few:
            records.append(make_record(metric, scoring, seeds, reference, None, str(few)))
        else:
            records.append(make_record(metric, scoring, seeds, reference, over_seeds(found)))
    return records
