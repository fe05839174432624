"""Verdicts: direction, several names, Holm within a question, seeds, and how often they are wrong."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.metrics.judge import Verdict, decide, decide_lines, judge, judge_order, no_verdict
from bench.metrics.uncertainty import Estimate
from tests.bench.metrics.worlds import World

TWO = World(n=60, dim=5, seeds=3, variants=2, spread=0.02)


def known(values, spread=0.01, seed=0):
    """Estimates of three seeds whose videos scatter by `spread`."""
    noise = np.random.default_rng(seed).normal(size=50)
    noise *= spread / np.linalg.norm(noise)
    return [Estimate(value, noise, np.zeros(3)) for value in values]


def hear(metric, *variants):
    return decide([judge_order(metric, variants, 50)])[0]


def test_lower_fvd_and_higher_pic_are_better():
    low, high = known([1.0, 1.01, 0.99]), known([2.0, 2.01, 1.99], seed=1)
    assert hear("fvd", low, high).verdict == hear("kvd", low, high).verdict == "holds"
    assert hear("pic", high, low).verdict == "holds"
    assert hear("fvd", high, low).verdict == hear("pic", low, high).verdict == "fails"


def test_the_effect_is_the_advantage_in_the_metrics_units():
    found = hear("fvd", known([1.0, 2.0, 3.0]), known([2.0, 4.0, 4.5], seed=1))
    assert found.effect == pytest.approx(1.5) and found.unit == "FVD"
    assert found.per_seed == pytest.approx((1.0, 2.0, 1.5))
    assert found.low < found.effect < found.high
    assert found.leans == "for" and (found.seeds, found.n) == (3, 50)


def test_what_is_not_clear_is_undecided():
    found = hear("fvd", known([1.0, 2.0, 3.0]), known([1.5, 1.9, 3.2], seed=1))
    assert found.verdict == "undecided" and found.p > 0.05 and found.low < 0 < found.high


def test_p_without_noise_of_videos_is_the_paired_t_test_over_seeds():
    a, b = np.array([1.0, 1.2, 1.1]), np.array([1.5, 1.6, 1.9])
    found = hear("fvd", known(a, 1e-9), known(b, 1e-9, 1))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-3)


def test_fewer_than_three_seeds_decide_nothing():
    for count in (1, 2):
        found = hear("fvd", known([1.0] * count), known([9.0] * count, seed=1))
        assert found.verdict == "undecided"
        assert any("needs 3" in note for note in found.notes)


def test_every_neighbour_must_be_better():
    x, y, z = known([1, 1.01, 0.99]), known([2, 2.01, 1.99], seed=1), known([3, 3.01, 2.99], seed=2)
    assert hear("fvd", x, y, z).verdict == "holds"
    broken = hear("fvd", x, z, y)
    assert broken.verdict == "fails" and broken.weakest == 1 and broken.effect == pytest.approx(-1.0)
    close = known([2.0, 2.01, 1.99], seed=3)
    assert hear("fvd", x, y, close).verdict == "undecided"
    assert hear("fvd", x, y, close).weakest == 1


def test_p_of_several_neighbours_is_the_largest():
    x, y, z = known([1, 1.1, 0.9], 0.1), known([2, 2.2, 1.9], 0.1, 1), known([2.4, 2.3, 2.2], 0.1, 2)
    one, two, both = hear("fvd", x, y), hear("fvd", y, z), hear("fvd", x, y, z)
    assert one.leans == two.leans == both.leans == "for"
    assert both.p == pytest.approx(max(one.p, two.p))
    reverse = hear("fvd", y, x, z)  # wrong once, right once: against it, times two
    assert reverse.leans == "against" and reverse.p == pytest.approx(min(1.0, 2 * one.p))


def verdict(p, leans="for", seeds=3):
    return Verdict("fvd", 1.0, 0.5, 1.5, 0.95, p, leans, (1.0,) * seeds, seeds, 50, "FVD", 0)


def test_holm_runs_over_the_family():
    alone = decide([verdict(0.03)])
    family = decide([verdict(0.03), verdict(0.2), verdict(0.001, "against"), no_verdict("kvd", "why", 1, 3)])
    assert [one.verdict for one in alone] == ["holds"]
    assert [one.verdict for one in family] == ["undecided", "undecided", "fails", "undecided"]
    assert [one.p_holm for one in family] == pytest.approx([0.06, 0.2, 0.003, None])
    assert family[3].notes == ("why",)
    assert decide(decide([*alone, *family[1:]])) == family  # deciding again is deciding anew


def test_lines_of_several_data_sets_are_decided_as_one_family():
    family = [verdict(0.03), verdict(0.001, "against"), no_verdict("kvd", "why", 1, 3), verdict(1e-9, seeds=2)]
    apart = [{"dataset": "x", **decide([one])[0].to_json()} for one in family]
    together = decide_lines(apart)
    assert together == [{"dataset": "x", **one.to_json()} for one in decide(family)]
    assert [line["verdict"] for line in together] == ["holds", "fails", "undecided", "undecided"]
    assert decide_lines([*apart, *apart])[0]["verdict"] == "undecided"


def test_judge_takes_samples_of_each_seed():
    (better, _), reference = TWO.draw(np.random.default_rng(0))
    worse = [replace(one, features=one.features + 3.0) for one in better]
    found = judge(better, worse, reference, "fvd")
    assert found.verdict == "holds" and found.seeds == 3 and found.n == 60
    assert judge(worse, better, reference, "fvd").verdict == "fails"
    assert judge(worse, better, reference, "fvd").effect == pytest.approx(-found.effect)


def test_seeds_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 2\] seeds; wanted 2 or more variants with equally many"):
        judge_order("fvd", [known([1, 2, 3]), known([1, 2])], 50)
    with pytest.raises(ValueError, match=r"\[3\] seeds"):
        judge_order("fvd", [known([1, 2, 3])], 50)


def test_claims_about_equals_are_seldom_decided():
    """Two variants of one distribution: 5 % of verdicts may be wrong; measured over 150 worlds."""
    wrong = 0
    world = replace(TWO, strength=0.0, spread=0.1, n=40)
    for r in range(150):
        made, reference = world.draw(np.random.default_rng([1, r]))
        wrong += judge(*made, reference, "pic").verdict != "undecided"
    assert wrong <= 15


def test_to_json_holds_plain_values():
    told = hear("fvd", known([1.0, 2.0, 3.0]), known([2.0, 4.0, 4.5], seed=1)).to_json()
    assert isinstance(told["per_seed"], list) and isinstance(told["notes"], list)
    assert {"effect", "low", "high", "level", "p", "p_holm", "verdict", "n", "seeds", "unit"} <= set(told)
