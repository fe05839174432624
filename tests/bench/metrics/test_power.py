"""The detectable difference: the t test's where that is the test; an effect of its size is found 4 times in 5."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize, stats

from bench.metrics.features import Sample
from bench.metrics.judge import decide, decide_lines, judge_order, no_verdict
from bench.metrics.power import detectable
from bench.metrics.uncertainty import Estimate, Part, Spread, Units, estimate

VIDEOS, SEEDS = 60, 3
OF_SEED, OF_VIDEO, OF_BOTH = 0.01, 0.1, 0.05  # standard deviations of the difference of two variants


@pytest.mark.parametrize("freedom", [2, 5, 40])
@pytest.mark.parametrize("tests", [1, 8])
def test_with_one_part_it_is_that_of_the_t_test(freedom, tests):
    critical = stats.t.isf(0.025 / tests, freedom)
    want = optimize.brentq(lambda d: stats.nct.sf(critical, freedom, d) - 0.8, 0.1, 200)
    assert detectable(Spread.of(4.0, freedom), tests=tests) == pytest.approx(2 * want, rel=1e-3)


def test_it_grows_with_what_is_asked_and_falls_with_what_is_known():
    two = Spread((Part(1.0, 60.0), Part(0.5, 2.0)), Part(1.2, 60.0))
    more_seeds = Spread((Part(1.0, 60.0), Part(0.5, 9.0)), Part(1.2, 60.0))
    found = [detectable(more_seeds), detectable(two), detectable(two, power=0.95), detectable(two, tests=8)]
    assert found == sorted(found) and len(set(found)) == 4
    assert detectable(Spread.of(0.0, 5.0)) == 0.0
    assert detectable(Spread((Part(1e-12, 60.0),), Part(1.0, 60.0))) == pytest.approx(detectable(Spread.of(1.0, 60.0)))


@pytest.mark.parametrize("given", [{"alpha": 0.0}, {"power": 0.04}, {"power": 1.0}, {"tests": 0}])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ValueError, match="wanted 0 < alpha < power < 1 <= tests"):
        detectable(Spread.of(1.0, 5.0), **given)


# ---- simulated ----


def true_spread():
    """Of the mean difference over seeds and videos, from the standard deviations above."""
    common, both = OF_VIDEO**2 / VIDEOS, OF_BOTH**2 / VIDEOS
    parts = (Part(common, VIDEOS - 1), Part((OF_SEED**2 + both) / SEEDS, SEEDS - 1))
    return Spread(parts, Part(common + both / SEEDS, VIDEOS - 1))


def repetition(seed):
    """The difference of two variants without effect: an estimate per training seed, PIC, so that the truth is known."""
    rng = np.random.default_rng([11, seed])
    apart = OF_SEED * rng.normal(size=(SEEDS, 1)) + OF_VIDEO * rng.normal(size=VIDEOS)
    apart = apart + OF_BOTH * rng.normal(size=(SEEDS, VIDEOS))
    ids = tuple(map(str, range(VIDEOS)))
    samples = [Sample(np.zeros((VIDEOS, 1)), one[:, None], ids, (None,) * VIDEOS) for one in apart]
    units = Units(*samples)
    return [estimate("pic", one, one, units) for one in samples]


@pytest.fixture(scope="module")
def repeated():
    """300 repetitions: a share of 80 % is known to 2.3 %."""
    return [repetition(seed) for seed in range(300)]


def verdicts(repeated, effect):
    """As they would be with a true advantage of `effect`."""
    nothing = [Estimate(0.0, np.zeros(VIDEOS), np.zeros(len(repeated[0][0].interaction)))] * SEEDS
    better = [[replace(one, value=one.value + effect) for one in seeds] for seeds in repeated]
    return [judge_order("pic", [seeds, nothing], VIDEOS) for seeds in better]


@pytest.mark.parametrize(("times", "least", "most"), [(0.0, 0.0, 0.06), (0.5, 0.1, 0.5), (1.0, 0.73, 0.87)])
def test_an_effect_of_that_size_is_found_four_times_in_five(times, least, most, repeated):
    effect = times * detectable(true_spread())
    found = [one.p <= 0.05 and one.leans == "for" for one in verdicts(repeated, effect)]
    assert least <= np.mean(found) <= most


def test_after_the_correction_too(repeated):
    found = [one.p <= 0.05 / 6 for one in verdicts(repeated, detectable(true_spread(), tests=6))]
    assert 0.73 <= np.mean(found) <= 0.87


def test_what_is_reported_is_near_the_truth(repeated):
    """Three seeds know their scatter to a factor of about 2."""
    told = [decide([one])[0].detectable / detectable(true_spread()) for one in verdicts(repeated[:60], 0.0)]
    assert np.median(told) == pytest.approx(1.0, rel=0.2)
    assert np.mean([0.5 < one < 2 for one in told]) > 0.9


# ---- in verdicts ----


def known(values, seed=0):
    noise = np.random.default_rng(seed).normal(size=50)
    return [Estimate(value, 0.01 * noise / np.linalg.norm(noise), np.zeros(3)) for value in values]


def heard(seeds=3):
    return judge_order("fvd", [known([1.0, 2.0, 3.0][:seeds]), known([1.5, 1.9, 3.2][:seeds], 1)], 50)


def test_verdicts_tell_it_with_and_without_the_correction():
    alone, family = decide([heard()])[0], decide([heard(), heard(), heard(), no_verdict("kvd", "why", 1, 3)])
    assert alone.detectable == alone.detectable_alone == pytest.approx(detectable(heard().spread))
    assert family[0].detectable_alone == alone.detectable
    assert family[0].detectable == pytest.approx(detectable(heard().spread, tests=3))  # one could not be tested
    assert family[3].detectable is None and family[3].detectable_alone is None


def test_with_too_few_seeds_nothing_would_have_been_found():
    assert decide([heard(2)])[0].detectable is None


def test_lines_of_two_data_sets_have_that_of_the_larger_family():
    lines = [json.loads(json.dumps(decide([heard()])[0].to_json())) for _ in range(2)]
    together = decide_lines(lines)
    assert lines[0]["detectable"] == pytest.approx(detectable(heard().spread))
    assert together[0]["detectable"] == pytest.approx(detectable(heard().spread, tests=2))
    assert together[0]["detectable_alone"] == lines[0]["detectable_alone"]
    old = {key: value for key, value in lines[0].items() if key != "spread"}  # of a run made before this was told
    assert decide_lines([old])[0]["detectable"] is None
