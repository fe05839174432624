"""What must a reader know of a question about the text? Notes for the health of a run.

How many captions lost their words, tell no motion or were left out, as the `captions` steps counted; and why there is
no motion as asked where a claim wants it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.assemble import Finished

METRIC = "motion_as_asked"
NOT_GIVEN = (
    "motion as asked is not given: it needs prompts of the tiny world and its classifier, for the true motion of other "
    "videos is not known. Claims about it are undecided"
)


def caption_notes(run: Finished) -> Iterator[str]:
    """Lines for the notes of health.json; none for a run that asks nothing about the text."""
    for step in run.plan.graph:
        if step.kind == "captions":
            yield from (f"{step.label}: {note}" for note in run.read(step, "notes.json") or [])
    asked = any(claim.metric == METRIC for question in run.plan.questions for claim in question.expect)
    if asked and run.records and not any(record.metric == METRIC for record in run.records):
        yield NOT_GIVEN
