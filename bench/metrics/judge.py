"""Does a claim of the paper hold here? Verdicts over seeds and videos, Holm-corrected in a question.

A claim lists variants best first (`better`), or the largest value first (`larger`). Its effect is the advantage of
the better one in the metric's own direction, or by how much the larger one is larger, so an effect above 0 speaks for
the claim. Seeds are compared pairwise (seed 0 with seed 0) on the
same videos and against the same reference, and what a video adds to both scores cancels (`Estimate`).

A claim about more than two variants says that every neighbour is better than the next: it holds only if all
of these comparisons do (intersection-union), so for it the largest one-sided p counts; it fails as soon as
one comparison is reversed, so against it the smallest one counts, times their number. p = twice the smaller
of the two, at most 1; the side it came from is what a small p decides. With two variants this is the usual
two-sided p.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from bench.metrics.directions import MEASURES, directed
from bench.metrics.features import Sample
from bench.metrics.power import detectable
from bench.metrics.uncertainty import LEVEL, Estimate, Interval, Settings, Spread, Units, estimate, holm, over_seeds

LEAST_SEEDS = 3  # with fewer, nothing is decided: two seeds say next to nothing of how seeds differ

VerdictWord = Literal["holds", "fails", "undecided", "not tested"]


@dataclass(frozen=True)
class Verdict:
    """What became of one claim; effect, low, high and per_seed are of its weakest comparison.

    low and high hold at `level` for this one comparison; verdict rests on p_holm. p is None where no test was
    possible. detectable is the smallest true effect that would have been found here in 4 of 5 repetitions, after the
    correction over the claims decided together, detectable_alone without it (`bench.metrics.power`); None where no
    effect would have been. spread is what they, the interval and p were made from.
    """

    metric: str
    effect: float | None
    low: float | None
    high: float | None
    level: float
    p: float | None
    leans: Literal["for", "against"]
    per_seed: tuple[float, ...]
    seeds: int
    n: int  # videos
    unit: str
    weakest: int  # 0: the first variant against the second, 1: the second against the third, ...
    p_holm: float | None = None
    verdict: VerdictWord = "undecided"  # "not tested": a variant that it names gave no numbers
    detectable: float | None = None
    detectable_alone: float | None = None
    spread: Spread | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As claims.json holds it (question, claim, dataset and names are added by the step)."""
        spread = self.spread.to_json() if self.spread else None
        return {**asdict(self), "per_seed": list(self.per_seed), "notes": list(self.notes), "spread": spread}


def judge(
    a: Sequence[Sample],
    b: Sequence[Sample],
    reference: Sample,
    metric: str,
    settings: Settings | None = None,
    level: float = LEVEL,
) -> Verdict:
    """Is `a` better than `b`? One sample per training seed, paired by position; a family of one claim.

    Raises ValueError when the numbers of seeds differ or are 0, TooFew when there are too few videos for a
    value.
    """
    units = Units(*a, *b, reference)
    sides = [[estimate(metric, one, reference, units, settings) for one in side] for side in (a, b)]
    return decide([judge_order(metric, sides, len(a[0]) if a else 0, level)], 1 - level)[0]


def judge_order(
    metric: str, variants: Sequence[Sequence[Estimate]], n: int, level: float = LEVEL, larger: bool = False
) -> Verdict:
    """A claim about two or more variants, best first, from estimates made with the same units; not yet decided.

    variants[v][s] is of training seed s; n counts the videos; larger: they are ordered by value, the largest first.
    Raises ValueError when the seeds do not pair up, or for best first in a metric without a direction.
    """
    counts = {len(seeds) for seeds in variants}
    if len(variants) < 2 or len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"judge: {[len(seeds) for seeds in variants]} seeds; wanted 2 or more variants with equally many"
        )
    if not larger and not directed(metric):
        raise ValueError(f"judge: no value of {metric} is better than another; say which is larger")
    sign = -1.0 if not larger and MEASURES[metric].lower_is_better else 1.0
    pairs = [
        [Estimate.combine([sign, -sign], [better, worse]) for better, worse in zip(one, two, strict=True)]
        for one, two in pairwise(variants)
    ]
    intervals = [over_seeds(pair, level) for pair in pairs]
    p, leans, weakest = _combine(intervals)
    chosen = intervals[weakest]
    seeds = counts.pop()
    return Verdict(
        metric=metric,
        effect=chosen.value,
        low=chosen.low,
        high=chosen.high,
        level=level,
        p=p,
        leans=leans,
        per_seed=tuple(one.value for one in pairs[weakest]),
        seeds=seeds,
        n=n,
        unit=MEASURES[metric].unit,
        weakest=weakest,
        spread=chosen.spread,
        notes=_notes(seeds, chosen),
    )


def _combine(intervals: Sequence[Interval]) -> tuple[float | None, Literal["for", "against"], int]:
    """Two-sided p of "all are above 0", the side it speaks for, and the weakest comparison."""
    above = [interval.p_above for interval in intervals]
    known = [p for p in above if p is not None]
    if len(known) < len(above):
        weakest = min(range(len(intervals)), key=lambda k: intervals[k].value)
        return None, "for" if intervals[weakest].value > 0 else "against", weakest
    weakest = max(range(len(known)), key=lambda k: known[k])
    holds, fails = known[weakest], min(1.0, len(known) * (1 - known[weakest]))
    return min(1.0, 2 * min(holds, fails)), "for" if holds < fails else "against", weakest


def _notes(seeds: int, interval: Interval) -> tuple[str, ...]:
    notes = []
    if seeds < LEAST_SEEDS:
        what = "1 training seed" if seeds == 1 else f"{seeds} training seeds"
        notes.append(f"{what}: a verdict needs {LEAST_SEEDS}")
    if interval.spread is None:
        notes.append("too few videos for an interval")
    return tuple(notes)


def no_verdict(metric: str, why: str, n: int, seeds: int, level: float = LEVEL) -> Verdict:
    """A claim that could not be put to the test; undecided, and `why`."""
    unit = MEASURES[metric].unit
    return Verdict(metric, None, None, None, level, None, "against", (), seeds, n, unit, 0, notes=(why,))


def not_tested(metric: str, why: str, n: int, seeds: int, level: float = LEVEL) -> Verdict:
    """A claim about a variant that gave no numbers, and `why`; it is no test, so it takes nothing from others."""
    return replace(no_verdict(metric, why, n, seeds, level), verdict="not tested")


def decide(family: Sequence[Verdict], alpha: float = 1 - LEVEL) -> list[Verdict]:
    """The claims of one question, decided together: Holm's correction, then holds, fails or undecided.

    Calling it again on a larger family decides anew.
    """
    adjusted = holm([one.p for one in family])
    tests = sum(p is not None for p in adjusted)
    return [
        replace(
            one,
            p_holm=p,
            verdict=_word(one.verdict, p, one.leans, one.seeds, alpha),
            detectable=_detectable(one.spread, one.seeds, alpha, tests),
            detectable_alone=_detectable(one.spread, one.seeds, alpha, 1),
        )
        for one, p in zip(family, adjusted, strict=True)
    ]


def decide_lines(lines: Sequence[Mapping[str, Any]], alpha: float = 1 - LEVEL) -> list[dict[str, Any]]:
    """`decide` for lines of claims.json: a question's claims on all its data sets, decided together."""
    adjusted = holm([line["p"] for line in lines])
    tests = sum(p is not None for p in adjusted)
    spreads = [Spread.from_json(line["spread"]) if line.get("spread") else None for line in lines]
    return [
        {
            **line,
            "p_holm": p,
            "verdict": _word(line.get("verdict", "undecided"), p, line["leans"], line["seeds"], alpha),
            "detectable": _detectable(spread, line["seeds"], alpha, tests),
        }
        for line, p, spread in zip(lines, adjusted, spreads, strict=True)
    ]


def _detectable(spread: Spread | None, seeds: int, alpha: float, tests: int) -> float | None:
    if spread is None or seeds < LEAST_SEEDS:
        return None
    return detectable(spread, alpha, tests=max(tests, 1))


def _word(before: str, p_holm: float | None, leans: str, seeds: int, alpha: float) -> VerdictWord:
    if before == "not tested":
        return "not tested"
    if p_holm is None or p_holm > alpha or seeds < LEAST_SEEDS:
        return "undecided"
    return "holds" if leans == "for" else "fails"
