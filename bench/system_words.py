"""What must a reader know of another system's clips? Of videos what `score` says, of a pipeline how it was asked.

One note for each system: a table that numbers six of them cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.graph import Step
from bench.plan import Plan, VariantPlan
from bench.scoring.frames import Shape, told
from bench.scoring.words import Words, of_files, of_matching

if TYPE_CHECKING:
    from bench.assemble import Finished


def clip_words(run: Finished, built: VariantPlan, dataset: str) -> Words:
    """Notes and reasons about the clips of one variant; none for a variant of the model."""
    clips = next((one.clips for (name, _), one in built.scored.items() if name == dataset), None)
    if clips is None:
        return Words()
    if clips.kind == "external":
        return Words(["; ".join(run.read(clips, "notes.json") or [])])
    return _of_videos(run, clips, dataset) if clips.kind == "collect" else Words()


def _of_videos(run: Finished, clips: Step, dataset: str) -> Words:
    items, aside, matching = (run.read(clips, f"{name}.json") or [] for name in ("items", "set_aside", "matching"))
    found = dict(matching)
    said = Words(told(items, Shape(**clips.config["shape"])))
    of_matching(dataset, found.get("missing", []), found.get("extra", []), said)
    of_files(dataset, items, aside, said)
    said.notes = ["; ".join(said.notes)]  # one note of a table, not six
    return said


def file_lines(run: Finished) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Of all systems' videos: (damaged, set aside, missing), each with the system's name, as health.json lists them."""
    damaged, aside, missing = [], [], []
    for (question, variant), built in run.plan.variants.items():
        for dataset in built.aggregate if built.one_set else ():
            said = clip_words(run, built, dataset)
            whose = {"of": f"{question}.{variant}"}
            damaged += [{**line, **whose} for line in said.damaged]
            aside += [{**line, **whose} for line in said.set_aside]
            missing += [{**line, **whose, "reason": f"{variant}: {line['reason']}"} for line in said.missing]
    return damaged, aside, missing


def without_numbers(plan: Plan) -> dict[str, dict[str, str]]:
    """question -> {variant: why it has no numbers}."""
    found: dict[str, dict[str, str]] = {}
    for (question, variant), built in plan.variants.items():
        if not built.scored:
            found.setdefault(question, {})[variant] = "; ".join(plan.notes.get((question, variant), ()))
    return found


def plan_notes(plan: Plan) -> list[str]:
    """Where variants are from, and in a line for each question which have no numbers."""
    empty = without_numbers(plan)
    told = [
        f"{question}.{variant}: {note}"
        for (question, variant), notes in plan.notes.items()
        for note in notes
        if variant not in empty.get(question, ())
    ]
    gone = [f"{name}: no numbers of {', '.join(rows)}; their rows say what to give" for name, rows in empty.items()]
    return told + gone


def asked(plan: Plan, questions: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """As spec.json has them: the questions, with `empty` {variant: why it has no numbers}, and what `--system` gave:
    a pipeline with its sha256, or how many videos of which sets.
    """
    empty = without_numbers(plan)
    found: dict[str, Any] = {
        "questions": {
            name: question | ({"empty": empty[name]} if name in empty else {}) for name, question in questions.items()
        }
    }
    systems = {
        name: {"pipeline": given.adapter.pipeline, "sha256": given.pipeline.digest}
        if given.pipeline is not None
        else {"videos": {dataset: len(videos.items) for dataset, videos in given.videos.items()}}
        for name, given in plan.sources.systems.items()
    }
    return found | ({"systems": systems} if systems else {})
