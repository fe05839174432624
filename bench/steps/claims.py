"""Step `claims`: which claims of a question hold on one data set, over training seeds and videos.

Inputs: reference, and "<variant>.seed_<seed>" for each variant that a claim names and each seed (features
artifacts); a variant without them gave no numbers, and claims about it are not tested. Config: protocol, dataset,
question, seeds, claims [{claim, metric, better or larger, and source "ours" where it is not the paper's}].

Leaves claims.json, a list of {question, claim, metric, dataset, better or larger, effect, low, high, level, p, p_holm,
verdict, n, seeds, unit, per_seed, detectable, ...}. Variants are compared on the videos that all of a claim have: of
another system's some may be missing, and FVD falls with their number. Holm's correction runs over the claims of this
list (`decide_lines` of `bench.metrics.judge` decides those of several data sets together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.metrics.features import Sample, read_sample
from bench.metrics.judge import Verdict, decide, judge_order, no_verdict, not_tested
from bench.metrics.records import write_json
from bench.metrics.uncertainty import Estimate, TooFew, Units, estimate
from bench.protocol import Scoring
from bench.work import Work

VERSION = 3


def run(work: Work) -> None:
    """Judges every claim; what cannot be decided is undecided or not tested, with the reason in its notes."""
    config = work.config
    named = dict.fromkeys(name for claim in config["claims"] for name in order_of(claim))
    names = [name for name in named if all(f"{name}.seed_{seed}" in work.inputs for seed in config["seeds"])]
    samples = {name: [read_sample(work.inputs[f"{name}.seed_{seed}"]) for seed in config["seeds"]] for name in names}
    reference = read_sample(work.inputs["reference"])
    court = Court(samples, reference, Scoring.read(config["protocol"]))
    verdicts = decide([court.hear(claim) for claim in config["claims"]])
    asked = {"question": config["question"], "dataset": config["dataset"]}
    lines = [
        {**asked, "claim": c["claim"], **{key: c[key] for key in (*ORDERS, "source") if key in c}, **v.to_json()}
        for c, v in zip(config["claims"], verdicts, strict=True)
    ]
    write_json(work.out / "claims.json", lines)


Videos = frozenset[str] | None
ORDERS = ("better", "larger")  # keys of a claim that list variants; it has one of them


def order_of(claim: Mapping[str, Any]) -> list[str]:
    """The variants that a claim names, in its order."""
    return [str(name) for key in ORDERS for name in claim.get(key) or ()]


class Court:
    """Hears claims about one set of samples; every (variant, metric) is estimated once for the same videos."""

    def __init__(self, samples: Mapping[str, list[Sample]], reference: Sample, scoring: Scoring) -> None:
        self.samples, self.reference, self.scoring = samples, reference, scoring
        self.units = Units(*(one for seeds in samples.values() for one in seeds), reference)
        self._known: dict[tuple[str, str, Videos], list[Estimate]] = {}

    def hear(self, claim: Mapping[str, Any]) -> Verdict:
        """The verdict on {metric, better or larger}, not yet decided."""
        metric, order = claim["metric"], order_of(claim)
        absent = [name for name in order if not self.samples.get(name)]
        if absent:
            return not_tested(metric, f"no numbers of {', '.join(absent)}", 0, 0)
        videos = self._in_common(order)
        count = min(len(one) for name in order for one in self.samples[name]) if videos is None else len(videos)
        if metric not in self.scoring.networks:
            why = f"{self.scoring.name} does not score {metric}"
            return no_verdict(metric, why, count, len(self.samples[order[0]]))
        try:
            found = [self._estimates(name, metric, videos) for name in order]
            verdict = judge_order(metric, found, count, larger="larger" in claim)
        except TooFew as few:
            return no_verdict(metric, str(few), count, len(self.samples[order[0]]))
        note = () if videos is None else (f"compared on the {count} videos that all of them have",)
        return replace(verdict, notes=(*verdict.notes, *note))

    def _in_common(self, order: Sequence[str]) -> Videos:
        """Ids of the videos that all of these variants have; None where they have the same ones anyway."""
        found = [frozenset(one.ids) for name in order for one in self.samples[name]]
        return None if len(set(found)) == 1 else frozenset.intersection(*found)

    def _estimates(self, name: str, metric: str, videos: Videos) -> list[Estimate]:
        key = (name, metric, videos)
        if key not in self._known:
            chosen = [one if videos is None else _only(one, videos) for one in self.samples[name]]
            settings = self.scoring.settings
            self._known[key] = [estimate(metric, one, self.reference, self.units, settings) for one in chosen]
        return self._known[key]


def _only(sample: Sample, videos: frozenset[str]) -> Sample:
    return sample.take(np.array([row for row, video in enumerate(sample.ids) if video in videos], dtype=np.intp))
