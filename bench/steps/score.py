"""Step `score`: FVD, KVD and PIC of one set of clips against the reference, each with its interval over videos; beside
them what else was measured of each video (motion, consistency, alignment).

Inputs: generated and, for what compares with real clips, reference (features artifacts). Leaves records.json, a list of
{metric, features, protocol, value, low, high, level, interval, n, comparable, notes, fingerprints}; whose numbers they
are is added when the run is assembled. And extrapolation.json: FVD against the number of videos.
"""

from __future__ import annotations

from bench.guards import check_same_measurement
from bench.metrics.features import Sample, read_sample
from bench.metrics.records import Json, score_all, write_curves, write_json
from bench.metrics.uncertainty import over_videos
from bench.protocol import Scoring
from bench.work import Work

VERSION = 3


def run(work: Work) -> None:
    """Scores every metric; too few videos leave a record without a value and a note, never a crash."""
    scoring = Scoring.read(work.config["protocol"])
    if "reference" in work.inputs:
        check_same_measurement(work.inputs["generated"], work.inputs["reference"], work.config["protocol"])
    generated = read_sample(work.inputs["generated"])
    reference = read_sample(work.inputs["reference"]) if "reference" in work.inputs else None
    write_json(work.out / "records.json", score(generated, reference, scoring))
    write_curves(work.out, [generated], reference, scoring)


def score(generated: Sample, reference: Sample | None, scoring: Scoring) -> list[Json]:
    """Records of `generated`, against `reference` where a metric compares, one per metric."""
    return score_all(scoring, [generated], reference, lambda found: over_videos(found[0]))
