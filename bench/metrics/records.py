"""How a score is told: value, interval, what the interval covers, and whether the number may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.metrics.features import Sample
from bench.metrics.uncertainty import Interval
from bench.protocol import Scoring

Json = dict[str, Any]


def make_record(
    metric: str,
    scoring: Scoring,
    seeds: Sequence[Sample],
    reference: Sample,
    interval: Interval | None,
    missing: str = "",
) -> Json:
    """The keys of a record that the scores decide; interval None: no value, for the reason `missing`."""
    count = min((len(one) for one in seeds), default=0)
    reasons = comparable_reasons(metric, scoring, seeds, reference)
    notes = [*reasons, *([missing] if interval is None else told(interval, seeds, reference, metric))]
    low, high, level = _ends(interval, metric)
    return {
        "metric": metric,
        "features": scoring.image_network if metric == "pic" else scoring.video_network,
        "protocol": scoring.name,
        "value": interval.value if interval else None,
        "low": low,
        "high": high,
        "level": level,
        "interval": covers(interval, metric, seeds) if interval and level else "",
        "n": count,
        "comparable": not reasons and interval is not None,
        "notes": notes,
    }


def comparable_reasons(metric: str, scoring: Scoring, seeds: Sequence[Sample], reference: Sample) -> list[str]:
    """Why a number may not be compared with others of its protocol; empty if it may."""
    count = min((len(one) for one in (*seeds, reference)), default=0)
    reasons = []
    if count < scoring.required:
        reasons.append(f"not comparable: {count} videos, {scoring.required} required by {scoring.name}")
    dim = reference.features.shape[1]
    if metric == "fvd" and count <= dim:
        reasons.append(f"not comparable: FVD from {count} videos of {dim} features has singular covariances")
    return reasons


def told(interval: Interval, seeds: Sequence[Sample], reference: Sample, metric: str) -> list[str]:
    """What else a reader should know of a value."""
    notes = []
    if interval.low is None:
        notes.append("no interval: too few videos, or all of one group")
    if metric != "pic" and any(len(one) != len(reference) for one in seeds):
        counts = ", ".join(str(len(one)) for one in seeds)
        notes.append(f"{counts} generated videos against {len(reference)} real ones")
    return notes


def covers(interval: Interval, metric: str, seeds: Sequence[Sample]) -> str:
    """What the interval covers, in words."""
    units = {unit for one in seeds for unit in one.units}
    groups = any(unit.startswith("group ") for unit in units)
    what = "the expectation at this number of videos" if metric == "fvd" else "the expectation"
    by = f"jackknife over {len(units)} {'groups of videos' if groups else 'videos'}"
    return f"{interval.level:.0%} for {what}: {interval.words}, {_sides(metric)}; {by}"


def _sides(metric: str) -> str:
    return "generated" if metric == "pic" else "generated and real together"


def _ends(interval: Interval | None, metric: str) -> tuple[float | None, float | None, float | None]:
    if interval is None or interval.low is None or interval.high is None:
        return None, None, None
    low = max(interval.low, 0.0) if metric == "fvd" else interval.low  # a distance is 0 or more
    return low, max(interval.high, interval.value), interval.level


def write_json(path: Path, value: object) -> None:
    """JSON that another program can read: no NaN, or ValueError."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
