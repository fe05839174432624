"""Step `claims`: which claims of a question hold on one data set, over training seeds and videos.

Inputs: reference, and "<variant>.seed_<seed>" for each variant that a claim names and each seed (features
artifacts). Config: protocol, dataset, question, seeds, claims [{claim, metric, better}]. Leaves claims.json,
a list of {question, claim, metric, dataset, better, effect, low, high, level, p, p_holm, verdict, n, seeds,
unit, per_seed, detectable, ...}; Holm's correction runs over the claims of this list (`decide_lines` of
`bench.metrics.judge` decides those of several data sets together).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.metrics.features import Sample, read_sample
from bench.metrics.judge import Verdict, decide, judge_order, no_verdict
from bench.metrics.records import write_json
from bench.metrics.uncertainty import Estimate, TooFew, Units, estimate
from bench.protocol import Scoring
from bench.work import Work

VERSION = 2


def run(work: Work) -> None:
    """Judges every claim; what cannot be tested is undecided, with the reason in its notes."""
    config = work.config
    names = list(dict.fromkeys(name for claim in config["claims"] for name in claim["better"]))
    samples = {name: [read_sample(work.inputs[f"{name}.seed_{seed}"]) for seed in config["seeds"]] for name in names}
    reference = read_sample(work.inputs["reference"])
    court = Court(samples, reference, Scoring.read(config["protocol"]))
    verdicts = decide([court.hear(claim) for claim in config["claims"]])
    asked = {"question": config["question"], "dataset": config["dataset"]}
    lines = [
        {**asked, "claim": c["claim"], "better": list(c["better"]), **v.to_json()}
        for c, v in zip(config["claims"], verdicts, strict=True)
    ]
    write_json(work.out / "claims.json", lines)


class Court:
    """Hears claims about one set of samples; every (variant, metric) is estimated once."""

    def __init__(self, samples: Mapping[str, list[Sample]], reference: Sample, scoring: Scoring) -> None:
        self.samples, self.reference, self.scoring = samples, reference, scoring
        self.units = Units(*(one for seeds in samples.values() for one in seeds), reference)
        self._known: dict[tuple[str, str], list[Estimate]] = {}

    def hear(self, claim: Mapping[str, Any]) -> Verdict:
        """The verdict on {metric, better}, not yet decided."""
        metric, better = claim["metric"], claim["better"]
        seeds = [one for name in better for one in self.samples[name]]
        count = min((len(one) for one in seeds), default=0)
        if metric not in self.scoring.networks:
            why = f"{self.scoring.name} does not score {metric}"
            return no_verdict(metric, why, count, len(self.samples[better[0]]))
        try:
            return judge_order(metric, [self._estimates(name, metric) for name in better], count)
        except TooFew as few:
            return no_verdict(metric, str(few), count, len(self.samples[better[0]]))

    def _estimates(self, name: str, metric: str) -> list[Estimate]:
        key = (name, metric)
        if key not in self._known:
            settings = self.scoring.settings
            self._known[key] = [
                estimate(metric, one, self.reference, self.units, settings) for one in self.samples[name]
            ]
        return self._known[key]
