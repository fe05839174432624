"""What did people say? Blind answers and the key -> study.json: percentages with intervals, and agreement.

Raters who fail an attention check are set aside, named and counted. study.json is deterministic: the same answers give
the same bytes, in whatever order their files are given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.study.agreement import alpha, in_words
from bench.study.answers import Rater, read_answers, read_key
from bench.study.design import YES, Criterion, Key, Screen
from bench.study.shares import LEVEL, METHOD, Share, shares
from reports.load import STUDY_SCHEMA

Json = dict[str, Any]


def tally(paths: Sequence[Path], key_path: Path) -> Json:
    """study.json as an object. UsageError for files that are refused, BenchError when no rater is left."""
    key = read_key(key_path)
    raters = sorted(read_answers(paths, key), key=lambda rater: rater.name)
    failed = {rater.name: failures(rater, key) for rater in raters}
    kept, aside = ([r for r in raters if bool(failed[r.name]) == wrong] for wrong in (False, True))
    if not kept:
        raise BenchError(f"study tally: none of {len(raters)} raters passed the attention checks; nothing to tally")
    return {
        "schema": STUDY_SCHEMA,
        "study": key.study,
        "level": LEVEL,
        "raters": len(kept),
        "set_aside": [{"file": rater.file, "failed": failed[rater.name]} for rater in aside],
        "answers": {rater.name: _hash(rater) for rater in raters},
        "systems": [
            {"run": s.run, "question": s.question, "variant": s.variant, "label": s.label, "world": s.world}
            for s in key.systems
        ],
        "questions": [_question(criterion, key, kept) for criterion in key.criteria],
        "words": _words(key, kept, [(rater.file, failed[rater.name]) for rater in aside]),
    }


def failures(rater: Rater, key: Key) -> int:
    """How many attention checks a rater failed."""
    return sum(s.right is not None and rater.answers[s.id].chosen != s.right for s in key.screens)


def _hash(rater: Rater) -> str:
    plain = {screen: [a.chosen, a.position, a.seconds] for screen, a in sorted(rater.answers.items())}
    return hashlib.sha256(json.dumps([rater.name, plain]).encode()).hexdigest()


def _question(criterion: Criterion, key: Key, raters: Sequence[Rater]) -> Json:
    mine = [s for s in key.screens if s.criterion == criterion.name and s.right is None]
    votes = np.zeros((len(raters), len(key.systems)), dtype=np.int64)
    asked = np.zeros_like(votes)
    for row, rater in enumerate(raters):
        for screen in mine:
            _count(votes[row], asked[row], screen, rater.answers[screen.id].chosen, criterion.kind)
    found = alpha([[rater.answers[screen.id].chosen for rater in raters] for screen in mine])
    return {
        "criterion": criterion.name,
        "kind": criterion.kind,
        "label": criterion.label,
        "asked": criterion.asked,
        "shares": [_share(share) for share in shares(votes, asked)],
        "alpha": None if found is None else round(found, 6),
        "agreement": in_words(found, len(raters)),
    }


def _count(votes: np.ndarray, asked: np.ndarray, screen: Screen, chosen: str, kind: str) -> None:
    """Adds one answer: a vote for one of all, or a yes or no about one."""
    for option in screen.options:
        assert option.system is not None, "checks are not counted"
        asked[option.system] += 1
        votes[option.system] += chosen == (option.token if kind == "pick" else YES)


def _share(share: Share) -> Json:
    def percent(value: float | None) -> float | None:
        return None if value is None else round(100 * value, 6)

    ends = {"low": percent(share.low), "high": percent(share.high)}
    return {"percent": percent(share.value), **ends, "votes": share.votes, "of": share.of}


def _words(key: Key, kept: Sequence[Rater], aside: Sequence[tuple[str, int]]) -> list[str]:
    checks = sum(screen.right is not None for screen in key.screens)
    inputs = "1 input" if len(key.items) == 1 else f"{len(key.items)} inputs"
    who = "1 rater" if len(kept) == 1 else f"{len(kept)} raters"
    said = [f"{who}, {inputs}, {len(key.screens) - checks} answers each, blind, in an order drawn for each rater."]
    said.append(f"Intervals: {LEVEL:.0%}. {METHOD}.")
    named = ", ".join(f"{file} ({failed} of {checks} failed)" for file, failed in aside)
    counted = f"{len(aside)} of {len(kept) + len(aside)}: {named}" if aside else "nobody"
    said.append(f"Set aside for failing an attention check: {counted}.")
    return [*said, _first_place(key, kept)]


def _first_place(key: Key, raters: Sequence[Rater]) -> str:
    """Whether people picked what stood first: the order was shuffled, so this should be chance."""
    kinds = {criterion.name: criterion.kind for criterion in key.criteria}
    picks = [s.id for s in key.screens if s.right is None and kinds[s.criterion] == "pick"]
    first = [rater.answers[screen].position == 0 for rater in raters for screen in picks]
    chance = 100 / len(key.systems)
    return (
        f"Of all picks, {100 * sum(first) / len(first):.0f} % fell on the video shown first (chance: {chance:.0f} %)."
    )
