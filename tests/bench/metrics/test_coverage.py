"""95 % intervals hold the truth about 95 times in 100: simulated, quickly here, in full in the slow tests.

The bounds of the quick ones leave room for three Monte-Carlo errors around 92 to 98 %: with the 150 to 400 repetitions
that QUICK lists, 5.3 to 3.3 %. Intervals 0.63 or 1.7 times as wide fail all of them; the slow ones, of 1000
repetitions, ask for 92 to 98 % itself.
"""

from dataclasses import replace

import numpy as np
import pytest

from bench.metrics.frechet import frechet_from_features
from tests.bench.metrics.worlds import CASES, OTHERS, PLAIN, SEEDS, coverage, difference, mean_of_seeds, single

QUICK = {
    "fvd": (PLAIN, single("fvd"), 200),
    "fvd, groups": (replace(PLAIN, n=96, dim=16, clusters=True), single("fvd"), 150),
    "fvd, difference": (replace(PLAIN, n=96, dim=24, variants=2), difference("fvd"), 200),
    "kvd": (replace(PLAIN, n=128, dim=32), single("kvd"), 250),
    "kvd, groups": (replace(PLAIN, n=128, dim=32, clusters=True), single("kvd"), 250),
    "pic": (replace(PLAIN, n=64, dim=5), single("pic"), 400),
    "pic, groups": (replace(PLAIN, n=128, dim=5, clusters=True), single("pic"), 400),
    "pic, difference": (replace(PLAIN, n=64, dim=5, variants=2), difference("pic"), 300),
}


@pytest.mark.parametrize("name", QUICK)
def test_intervals_cover_the_truth(name):
    world, measure, repetitions = QUICK[name]
    found = coverage(world, measure, repetitions)
    room = 3 * np.sqrt(0.95 * 0.05 / repetitions)
    assert 0.92 - room < found.cover < 0.98 + room, found
    assert found.cover < 1.0
    assert 0.8 < found.width < 1.5, found


def test_intervals_over_seeds_cover_the_truth():
    world = replace(PLAIN, n=64, dim=5, seeds=3, spread=0.5)
    found = coverage(world, mean_of_seeds("pic"), 300)
    assert 0.90 < found.cover < 1.0, found


def test_a_percentile_bootstrap_would_miss():
    """Why nothing here is resampled: it adds the bias of FVD a second time."""
    hits, values, intervals = 0, [], []
    world = replace(PLAIN, n=64, dim=24)
    for r in range(12):
        rng = np.random.default_rng([9, r])
        made, reference = world.draw(rng)
        x, y = made[0][0].features, reference.features
        values.append(frechet_from_features(x, y))
        again = [rng.integers(0, 64, 64) for _ in range(60)]
        intervals.append(np.quantile([frechet_from_features(x[i], y[i]) for i in again], [0.025, 0.975]))
    hits = sum(low < np.mean(values) < high for low, high in intervals)
    assert hits <= 3


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["fvd", "kvd", "pic"])
@pytest.mark.parametrize("name", {**CASES, **OTHERS})
def test_intervals_cover_the_truth_in_full(name, metric):
    world, kind = {**CASES, **OTHERS}[name]
    found = coverage(world, kind(metric), 1000)
    most = 0.98 if world.strength else 0.99  # of one distribution: wider than it had to be
    assert 0.92 <= found.cover <= most, found


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["fvd", "kvd", "pic"])
@pytest.mark.parametrize("name", SEEDS)
def test_intervals_over_seeds_never_cover_too_little(name, metric):
    """Three seeds say little of how seeds differ; where they hardly do, the interval is wider than it had to be."""
    world, kind = SEEDS[name]
    found = coverage(world, kind(metric), 400)
    assert found.cover >= 0.93, found
