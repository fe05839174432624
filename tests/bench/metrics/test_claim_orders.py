"""Claims order variants best first or largest first; what gave no numbers is not tested and costs nobody anything."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.errors import UsageError
from bench.metrics.directions import MEASURES, directed
from bench.metrics.judge import decide, decide_lines, judge_order, not_tested
from bench.metrics.uncertainty import METRICS, Units, estimate
from bench.protocol import Scoring
from bench.spec import load_question
from bench.steps import claims
from reports import words
from reports.load import read_claim
from tests.bench.metrics.test_score_steps import SEEDS, config, work, world

__all__ = ["work"]  # the fixture


def measured(gap: float) -> tuple:
    """Samples of a and b over seeds whose motion is `gap` apart, and the reference."""
    made, reference = world()
    rng = np.random.default_rng(3)
    found = {}
    for role, sample in made.items():
        motion = 2.0 + (gap if role.startswith("a") else 0.0) + rng.normal(0, 0.2, len(sample))
        found[role] = replace(sample, extras={"motion": motion, "alignment": motion})
    return found, replace(reference, extras={"motion": np.full(len(reference), 2.0)})


def judged(task):  # type: ignore[no-untyped-def]
    claims.run(task)
    return json.loads((task.out / "claims.json").read_text())


def told(*orders):  # type: ignore[no-untyped-def]
    return [{"claim": f"claim {k}", "metric": metric, **order} for k, (metric, order) in enumerate(orders)]


def test_a_metric_without_a_direction_is_ordered_by_size(work) -> None:
    made, reference = measured(0.5)
    up, down = {"larger": ["a", "b"]}, {"larger": ["b", "a"]}
    asked = told(("motion", up), ("motion", down), ("fvd", up))
    lines = judged(work({**made, "reference": reference}, question="q", seeds=list(SEEDS), claims=asked))
    assert [line["verdict"] for line in lines[:2]] == ["holds", "fails"]
    assert lines[0]["effect"] == -lines[1]["effect"]
    assert lines[0]["effect"] == pytest.approx(0.5, abs=0.1)
    assert "better" not in lines[0] and lines[0]["unit"] == MEASURES["motion"].unit
    assert read_claim(lines[0], "test").order == ("a", "b") == read_claim(lines[0], "test").larger
    best = judged_fvd(made, reference)
    assert lines[2]["effect"] == pytest.approx(-best), "larger FVD is the other way round than better FVD"


def judged_fvd(made, reference) -> float:  # type: ignore[no-untyped-def]
    units = Units(*made.values(), reference)
    sides = [[estimate("fvd", made[f"{name}.seed_{s}"], reference, units) for s in SEEDS] for name in "ab"]
    effect = judge_order("fvd", sides, 24).effect
    assert effect is not None
    return effect


def test_better_needs_a_direction() -> None:
    made, reference = measured(0.5)
    units = Units(*made.values(), reference)
    sides = [[estimate("motion", made[f"{name}.seed_{s}"], reference, units) for s in SEEDS] for name in "ab"]
    with pytest.raises(ValueError, match="no value of motion is better than another"):
        judge_order("motion", sides, 24)


def test_alignment_has_one(work) -> None:
    made, reference = measured(0.5)
    asked = told(("alignment", {"better": ["a", "b"]}), ("consistency", {"larger": ["a", "b"]}))
    lines = judged(work({**made, "reference": reference}, question="q", seeds=list(SEEDS), claims=asked))
    assert [line["verdict"] for line in lines] == ["holds", "undecided"]
    assert lines[1]["notes"] == ["consistency was not measured"]


def test_a_variant_without_numbers_is_not_tested_and_takes_nothing_from_others(work, tmp_path) -> None:
    made, reference = measured(0.5)
    asked = told(("motion", {"larger": ["a", "b"]}), ("pic", {"better": ["a", "gone"]}))
    lines = judged(work({**made, "reference": reference}, question="q", seeds=list(SEEDS), claims=asked))
    assert [line["verdict"] for line in lines] == ["holds", "not tested"]
    assert lines[1]["notes"] == ["no numbers of gone"] and lines[1]["p"] is None
    assert lines[0]["p_holm"] == lines[0]["p"], "one test, no correction"
    again = decide_lines(lines)
    assert [line["verdict"] for line in again] == ["holds", "not tested"]
    assert decide([not_tested("pic", "gone", 0, 0)])[0].verdict == "not tested"
    assert read_claim(again[1], "test").verdict == "not tested" and words.tally(["holds", "not tested"]).endswith(
        "0 undecided, 1 not tested"
    )


def test_a_sentence_of_ours_says_so(work) -> None:
    made, reference = measured(0.0)
    asked = [{**told(("motion", {"larger": ["a", "b"]}))[0], "source": "ours"}]
    (line,) = judged(work({**made, "reference": reference}, question="q", seeds=list(SEEDS), claims=asked))
    assert read_claim(line, "test").source == "ours"
    assert read_claim({k: v for k, v in line.items() if k != "source"}, "test").source == "paper"


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("metric: motion, better: [a, b]", "no value of motion is better than another; write larger"),
        ("metric: consistency, better: [a, b]", "no value of consistency is better"),
        ("metric: pic, better: [a, b], larger: [a, b]", "one of better (best first) and larger"),
        ("metric: pic", "one of better (best first) and larger (largest value first) is wanted; neither came"),
        ("metric: motion, larger: [a, c]", "expect[0].larger[1]: unknown variant 'c'. Known: a, b"),
        ("metric: motion, larger: [a, a]", "expect[0].larger[1]: 'a' is named twice"),
        ("metric: motions, larger: [a, b]", "expect[0].metric is 'motions'. Known: "),
        ("metric: pic, better: [a, b], source: mine", "expect[0].source is 'mine'. Known: paper, ours"),
    ],
)
def test_an_order_that_cannot_be_judged_is_refused(tmp_path, claim: str, said: str) -> None:
    path = tmp_path / "q.yaml"
    path.write_text(f"question: a\nsource: b\nvariants: {{a: {{}}, b: {{}}}}\nexpect:\n  - {{claim: x, {claim}}}\n")
    with pytest.raises(UsageError) as caught:
        load_question(path)
    assert any(said in line for line in caught.value.messages), caught.value.messages


def test_what_is_said_of_a_claim_is_what_was_given(tmp_path) -> None:
    path = tmp_path / "q.yaml"
    head = "question: a\nsource: b\nvariants: {a: {}, b: {}}\nexpect:\n"
    path.write_text(head + "  - {claim: x, metric: fvd, better: [a, b]}\n  - {claim: y, metric: pic, larger: [b, a]}\n")
    first, second = load_question(path).expect
    assert first.to_json() == {"claim": "x", "metric": "fvd", "better": ["a", "b"]}, "as it has always been"
    assert second.to_json() == {"claim": "y", "metric": "pic", "larger": ["b", "a"]} and second.order == ("b", "a")


def test_every_metric_that_can_be_claimed_of_is_measured_and_the_reports_agree_on_its_direction() -> None:
    assert set(MEASURES) <= set(METRICS)
    assert {metric for metric in MEASURES if directed(metric)} == set(words.LOWER_IS_BETTER)
    assert all(MEASURES[metric].lower_is_better == lower for metric, lower in words.LOWER_IS_BETTER.items())


def heard(samples, reference, metric="fvd"):  # type: ignore[no-untyped-def]
    sides = {name: [samples[f"{name}.seed_{seed}"] for seed in SEEDS] for name in "ab"}
    scoring = Scoring.read(config())
    return claims.Court(sides, reference, scoring).hear({"metric": metric, "better": ["a", "b"]})


@pytest.mark.parametrize("metric", ["fvd", "pic"])
def test_a_variant_with_fewer_videos_is_compared_on_those_that_both_have(metric) -> None:
    """FVD falls with the number of videos: the one with more would win."""
    made, reference = measured(0.0)
    few = {role: one if role.startswith("a") else one.take(np.arange(16)) for role, one in made.items()}
    even = {role: one.take(np.arange(16)) for role, one in made.items()}
    verdict, fair = heard(few, reference, metric), heard(even, reference, metric)
    assert verdict.effect == pytest.approx(fair.effect) and verdict.n == 16
    assert verdict.notes == ("compared on the 16 videos that all of them have",) and fair.notes == ()


def test_variants_without_a_video_in_common_are_not_compared() -> None:
    made, reference = measured(0.0)
    apart = {r: one.take(np.arange(12) + (12 if r.startswith("a") else 0)) for r, one in made.items()}
    verdict = heard(apart, reference)
    assert (verdict.verdict, verdict.effect, verdict.n) == ("undecided", None, 0)
