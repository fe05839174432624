"""Is the tiny world alive? What a miniature must show before its comparisons mean anything, checked in every run.

A falling loss does not make a world in which parts matter: videos must move as asked, the context stream must carry
the image, and the full model must beat doing nothing. Each check states its value, its target and whether it was
reached; a target that is missed is reported as missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.assemble import Finished
from bench.plan import Scored
from datasets.procedural import motion_in

PRIOR = "text_to_video"  # the baseline that sees no image
Check = dict[str, Any]


def alive(run: Finished) -> list[Check]:
    """The checks of a run on procedural evaluation sets; empty on real data, where they have no meaning."""
    if run.plan.sources.data:
        return []
    return [*_motion(run), *_context_alone(run), *_beats_static(run), *_decided(run)]


def check(name: str, value: float | None, target: float, words: str) -> Check:
    """One line of health.json: reached when the value is at least the target."""
    return {
        "check": name,
        "value": None if value is None else round(value, 4),
        "target": round(target, 4),
        "reached": value is not None and value >= target,
        "words": words,
    }


def _motion(run: Finished) -> Iterator[Check]:
    priors = [e.baselines[PRIOR] for e in run.plan.evaluation.values() if PRIOR in e.baselines]
    asked = _share(run, priors)
    real = _share(run, [Scored(e.clips, e.reference, e.reference) for e in run.plan.evaluation.values()])
    if asked is None or real is None:
        return
    yield check(
        "text-to-video samples move as asked",
        asked,
        0.80 * real / 0.95,
        f"the frozen classifier sees the requested motion in {asked:.0%} of text-to-video samples and in {real:.0%} of "
        "the real clips; 80 % is asked where real clips give 95 %",
    )
    for (question, variant), built in run.plan.variants.items():
        share = _share(run, list(built.scored.values()))
        if variant == "full" and share is not None:
            yield check(
                "the full model moves as asked", share, 0.80 * real / 0.95,
                f"requested motion seen in {share:.0%} of the full model's clips ({question})",
            )
            return


def _share(run: Finished, scored: Sequence[Scored]) -> float | None:
    """Share of clips whose motion is the one that their prompt asks for, over all the sets."""
    right: list[bool] = []
    for one in scored:
        seen, items = run.read(one.features, "motions.json"), run.read(one.features, "items.json")
        if seen is None or items is None:
            return None
        asked = [motion_in(item["prompt"]) for item in items]
        right += [a == s for a, s in zip(asked, seen, strict=True) if a is not None]
    return sum(right) / len(right) if right else None


def _value(run: Finished, variant: str, dataset: str, metric: str) -> float | None:
    """A variant's value over its seeds, or a baseline's, from the records of the questions with the most clips."""
    most = max((extent.samples for extent in run.plan.extents.values()), default=0)
    asked = {name for name, extent in run.plan.extents.items() if extent.samples == most}
    found = [
        r.value
        for r in run.records
        if r.question in asked
        and (r.variant, r.dataset, r.metric, r.seed) == (variant, dataset, metric, None) and r.value is not None
    ]
    return found[0] if found else None


def _context_alone(run: Finished) -> Iterator[Check]:
    for dataset in run.plan.evaluation:
        values = [_value(run, v, dataset, "pic") for v in (PRIOR, "no_vdg", "reconstruction")]
        none, context, best = values
        if none is None or context is None or best is None or best <= none:
            continue
        share = (context - none) / (best - none)
        yield check(
            f"context alone carries the image ({dataset})", share, 0.3,
            f"PIC {none:.3f} without any image, {context:.3f} with the context stream and no VDG, {best:.3f} for the "
            f"autoencoder's reconstruction: {share:.2f} of the way",
        )


def _beats_static(run: Finished) -> Iterator[Check]:
    for dataset in run.plan.evaluation:
        full, static = (_value(run, v, dataset, "fvd") for v in ("full", "static"))
        if full is not None and static is not None:
            yield check(
                f"full beats a static repeat in FVD ({dataset})", static / full, 1.0,
                f"FVD {full:.2f} of the full model, {static:.2f} of the condition frame repeated (value: their ratio)",
            )


def _decided(run: Finished) -> Iterator[Check]:
    for variant in ("no_vdg", "first_frame"):
        verdicts = [line["verdict"] for line in run.claims if variant in line.get("better", ())]
        if verdicts:
            decided = sum(v in ("holds", "fails") for v in verdicts) / len(verdicts)
            yield check(
                f"verdicts on {variant} are decided", decided, 1.0,
                f"{len(verdicts)} verdicts on claims about {variant}: {', '.join(sorted(verdicts))}",
            )
