"""How does FVD depend on the number of videos in every cell of a run? Curves of scoring steps -> extrapolation.jsonl.

A scoring step leaves extrapolation.json, a list of curves (keys in `bench/metrics/extrapolate.py`); a line of the run
folder is one of them with what only the plan knows: question, variant, label, role, dataset, seed (null: all seeds).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.graph import Step

if TYPE_CHECKING:
    from bench.assemble import Finished

LEFT = "extrapolation.json"


def extrapolation_lines(run: Finished, baseline_labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The curves of all variants, seeds and baselines, in the order of the records; none where steps left none."""
    for question in run.plan.questions:
        for dataset, evaluation in run.plan.sets(question.name).items():
            for variant in question.variants:
                built = run.plan.variants[question.name, variant.name]
                about = {"question": question.name, "variant": variant.name, "label": variant.label, "role": "variant"}
                if dataset not in built.aggregate:
                    continue
                for seed in run.plan.seeds(question.name):
                    yield from _of_step(run, built.scored[dataset, seed].score, about, dataset, seed)
                yield from _of_step(run, built.aggregate[dataset], about, dataset, None)
            for name, scored in evaluation.baselines.items():
                about = {"question": question.name, "variant": name, "label": baseline_labels[name], "role": "baseline"}
                yield from _of_step(run, scored.score, about, dataset, None)


def _of_step(
    run: Finished, step: Step, about: dict[str, str], dataset: str, seed: int | None
) -> Iterator[dict[str, Any]]:
    for curve in run.read(step, LEFT) or []:
        yield {**curve, **about, "dataset": dataset, "seed": seed}
