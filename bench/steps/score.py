"""Step `score`: what one set of clips scores against the reference, with intervals over videos.

Inputs: generated and reference (features artifacts). Leaves records.json, a list of {metric, features,
protocol, value, low, high, level, interval, n, comparable, notes}; whose numbers they are is added when the
run is assembled.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.metrics.features import Sample, read_sample
from bench.metrics.records import Json, make_record, write_json
from bench.metrics.uncertainty import METRICS, TooFew, Units, estimate, over_videos
from bench.protocol import Scoring
from bench.work import Work

VERSION = 1


def run(work: Work) -> None:
    """Scores every metric; too few videos leave a record without a value and a note, never a crash."""
    scoring = Scoring.read(work.config["protocol"])
    generated, reference = read_sample(work.inputs["generated"]), read_sample(work.inputs["reference"])
    write_json(work.out / "records.json", score(generated, reference, scoring))


def score(
    generated: Sample, reference: Sample, scoring: Scoring, metrics: Sequence[str] = tuple(METRICS)
) -> list[Json]:
    """Records of `generated` against `reference`, one per metric."""
    units, records = Units(generated, reference), []
    for metric in metrics:
        try:
            interval = over_videos(estimate(metric, generated, reference, units, scoring.settings))
        except TooFew as few:
            records.append(make_record(metric, scoring, [generated], reference, None, str(few)))
        else:
            records.append(make_record(metric, scoring, [generated], reference, interval))
    return records
