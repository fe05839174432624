"""How a score is told: value, interval, what the interval covers, and whether the number may be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.metrics.extrapolate import curve
from bench.metrics.features import EXTRAS, Sample
from bench.metrics.uncertainty import COMPARED, Estimate, Interval, TooFew, Units, estimate, per_video
from bench.protocol import Scoring
from bench.protocols.measures import ASK

Json = dict[str, Any]
MOVED = {  # forms whose value is not that of the form whose interval is given
    "float32 svd": "single precision adds to the stable form",
    "unbiased, float32": "single precision adds to the exact estimate",
    "100 subsets of 1000, float32": "the draw of subsets adds to the estimate from all samples",
    "biased": "pairs of a video with itself add to the unbiased estimate",
    "u_statistic": "leaving out pairs of a video with its own condition adds to the unbiased estimate",
}


def make_record(
    metric: str,
    scoring: Scoring,
    seeds: Sequence[Sample],
    reference: Sample | None,
    interval: Interval | None,
    notes: Sequence[str] = (),
) -> Json:
    """The keys of a record that the scores decide; interval None: no value, `notes` say why."""
    count = min((len(one) for one in seeds), default=0)
    reasons = comparable_reasons(metric, scoring, seeds, reference)
    told = [] if interval is None else _told(interval, seeds, reference, metric)
    low, high, level = _ends(interval, metric)
    return {
        "metric": metric,
        "features": scoring.networks[metric],
        "protocol": scoring.name,
        "value": interval.value if interval else None,
        "low": low,
        "high": high,
        "level": level,
        "interval": covers(interval, metric, seeds) if interval and level else "",
        "n": count,
        "comparable": not reasons and interval is not None,
        "notes": [*reasons, *told, *notes],
        "fingerprints": {"protocol": scoring.hash} if scoring.hash else {},
    }


def score_all(
    scoring: Scoring,
    seeds: Sequence[Sample],
    reference: Sample | None,
    combine: Callable[[Sequence[Estimate]], Interval],
) -> list[Json]:
    """A record per metric that the protocol scores and these clips were measured for; `combine` makes the interval.

    Without real clips there is none of the metrics that compare with them. Too few videos leave a record without a
    value and a note.
    """
    clips = [*seeds] if reference is None else [*seeds, reference]
    units, records = Units(*clips), []
    for metric in scoring.networks:
        if not all(one.has(metric) for one in seeds) or (reference is None and metric in COMPARED):
            continue
        try:
            found = [estimate(metric, one, reference, units, scoring.settings) for one in seeds]
        except TooFew as few:
            records.append(make_record(metric, scoring, seeds, reference, None, [str(few)]))
            continue
        notes = [*_moved(metric, scoring, Estimate.mean(found).moved), *_beside(metric, reference, scoring)]
        records.append(make_record(metric, scoring, seeds, reference, combine(found), notes))
    return records


def _moved(metric: str, scoring: Scoring, moved: float) -> list[str]:
    """What a form that is not our own adds to the one that the interval is made from."""
    form = scoring.settings.root if metric == "fvd" else scoring.settings.estimator
    if metric not in COMPARED or form not in MOVED:
        return []
    return [f"{MOVED[form]}: {moved:+.4g}; the interval is moved by as much and does not cover it"]


def _beside(metric: str, reference: Sample | None, scoring: Scoring) -> list[str]:
    """For what has no best value: what the real clips have."""
    if metric not in EXTRAS or reference is None or not reference.has(metric) or not len(reference):
        return []
    return [f"the real clips have {per_video(metric, reference, scoring.settings).mean():.4g}"]


def comparable_reasons(metric: str, scoring: Scoring, seeds: Sequence[Sample], reference: Sample | None) -> list[str]:
    """Why a number may not be compared with others of its protocol; empty if it may."""
    compared = reference is not None and metric in COMPARED
    count = min((len(one) for one in (*seeds, *([reference] if compared and reference else []))), default=0)
    reasons = []
    asked = scoring.asked_for.get(metric)
    if asked:
        reasons.append(
            f"not comparable: {scoring.networks[metric]} stands in for {asked}, which {scoring.name} asks for and "
            f"which is not at hand ({ASK.get(asked, '--weights')})"
        )
    if count < scoring.required:
        reasons.append(f"not comparable: {count} videos, {scoring.required} required by {scoring.name}")
    if metric == "fvd" and reference is not None and count <= reference.features.shape[1]:
        dim = reference.features.shape[1]
        reasons.append(f"not comparable: FVD from {count} videos of {dim} features has singular covariances")
    return reasons


def _told(interval: Interval, seeds: Sequence[Sample], reference: Sample | None, metric: str) -> list[str]:
    """What else a reader should know of a value."""
    notes = []
    if interval.low is None:
        notes.append("no interval: too few videos, or all of one group")
    if metric == "motion_as_asked" and interval.low is not None and interval.low == interval.high:
        notes.append("all videos are alike: an interval without a width says nothing of the next video")
    if metric in COMPARED and reference is not None and any(len(one) != len(reference) for one in seeds):
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
    return "generated and real together" if metric in COMPARED else "generated"


def _ends(interval: Interval | None, metric: str) -> tuple[float | None, float | None, float | None]:
    if interval is None or interval.low is None or interval.high is None:
        return None, None, None
    low = max(interval.low, min(interval.value, 0.0)) if metric == "fvd" else interval.low  # a distance is 0 or more
    high = max(interval.high, interval.value)
    if metric == "motion_as_asked":  # a share
        return min(max(low, 0.0), interval.value), min(high, 1.0), interval.level
    return low, high, interval.level


def write_curves(folder: Path, seeds: Sequence[Sample], reference: Sample | None, scoring: Scoring) -> None:
    """extrapolation.json: FVD against the number of videos, by the stable form; an empty list without real clips."""
    settings = replace(scoring.settings, root="nuclear norm")
    found = [] if reference is None else [curve(seeds, reference, settings)]
    about = {"features": scoring.networks["fvd"], "protocol": scoring.name}
    write_json(folder / "extrapolation.json", [{**one, **about} for one in found])


def write_json(path: Path, value: object) -> None:
    """JSON that another program can read: no NaN, or ValueError."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
