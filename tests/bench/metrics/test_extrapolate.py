"""FVD at infinitely many videos: right where the truth is known, not given where it would be a guess."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics import extrapolate
from bench.metrics.extrapolate import arcs, curve
from bench.metrics.features import Sample
from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.statistics import Gaussian
from bench.metrics.uncertainty import Settings, Units
from tests.bench.metrics.worlds import FACTORS, PLAIN, World

SMALL = World(n=64, dim=8)
LEAST = replace(SMALL, n=46)


def draw(world=SMALL, seed=0):
    made, reference = world.draw(np.random.default_rng(seed))
    return made[0], reference


def at_infinity(world):
    """The distance of the two distributions that a world draws from (Gaussian, in closed form)."""
    weights, eye = world._weights(), np.eye(world.dim)
    strong = (1 + 0.1 * world.strength) * np.linspace(1, 1 - 0.4 * world.strength, FACTORS)
    made = (weights.T * strong**2) @ weights + (1 - 0.15 * world.strength) ** 2 * eye
    shift = 0.3 * world.strength * np.random.default_rng(778).standard_normal(world.dim)
    return frechet_distance(Gaussian(np.zeros(world.dim), weights.T @ weights + eye), Gaussian(shift, made))


@pytest.fixture(scope="module")
def repeated():
    """60 extrapolations of one world, as few videos as there may be."""
    return [curve(*draw(LEAST, seed)) for seed in range(60)]


def at_the_end(told):
    return told["fit"]["value"]


def test_the_value_at_infinity_is_that_of_the_distributions(repeated):
    """The mean of 60 extrapolations errs by no more than chance, and the bias that they take away is far above that."""
    values, raw = np.array([(at_the_end(told), told["points"][0]["value"]) for told in repeated]).T
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - at_infinity(LEAST)) < 3 * error
    assert raw.mean() - at_infinity(LEAST) > 10 * error


def test_its_interval_holds_the_truth(repeated):
    """60 repetitions: the bounds leave three Monte-Carlo errors (8.4 %) below 92 %."""
    assert 0.836 <= held(repeated, LEAST) < 1.0


def held(told, world):
    return np.mean([one["fit"]["low"] <= at_infinity(world) <= one["fit"]["high"] for one in told])


@pytest.mark.slow
@pytest.mark.parametrize("world", [SMALL, replace(SMALL, strength=0.0), World(n=320, dim=16, strength=0.3)])
def test_its_interval_holds_the_truth_in_full(world):
    assert 0.92 <= held([curve(*draw(world, seed)) for seed in range(600)], world) <= 0.99


def test_points_are_the_distance_of_parts_and_the_line_goes_through_them():
    seeds, reference = draw()
    told = curve(seeds, reference)
    assert told["points"][0]["value"] == pytest.approx(frechet_from_features(seeds[0].features, reference.features))
    assert [p["n"] for p in told["points"]] == [64, 43, 32, 26, 21, 18, 16]
    assert [p["subsets"] for p in told["points"]] == [1, 2, 2, 3, 3, 4, 4]
    used = [(p["n"], p["value"]) for p in told["points"] if p["fitted"]]
    assert [n for n, _ in used] == [64, 43, 32, 26, 21, 18]  # more than 2 x 8
    slope, value = np.polyfit(1 / np.array(used)[:, 0], np.array(used)[:, 1], 1)
    assert [told["fit"]["value"], told["fit"]["slope"]] == pytest.approx([value, slope])
    assert told["fit"]["residual"] == pytest.approx(np.std([v - value - slope / n for n, v in used]), rel=1e-6)
    assert told["fit"]["low"] < told["fit"]["value"] < told["fit"]["high"]
    assert json.loads(json.dumps(told)) == told


def test_parts_hold_every_video_about_equally_often():
    seeds, reference = draw()
    units = Units(*seeds, reference)
    for part in extrapolate.PARTS:
        rows = np.concatenate([x for x, _ in arcs(seeds[0], reference, units, part).rows])
        assert np.ptp(np.bincount(rows, minlength=64)) <= 1


def test_neither_the_order_of_files_nor_the_call_matters():
    seeds, reference = draw()
    order = np.random.default_rng(1).permutation(64)
    shuffled = seeds[0].take(order)
    one, two = curve(seeds, reference), curve([shuffled], reference)
    assert at_the_end(two) == pytest.approx(at_the_end(one), rel=1e-9)
    assert curve(seeds, reference) == one


def test_groups_stay_whole():
    (made,), reference = draw(replace(SMALL, clusters=True))
    units = Units(made, reference)
    for rows, _ in arcs(made, reference, units, 2.0).rows:
        inside = {made.groups[row] for row in rows}
        outside = {made.groups[row] for row in range(64) if row not in set(rows)}
        assert not inside & outside


@pytest.mark.parametrize(("n", "fitted"), [(2, 0), (40, 3), (42, 4)])
def test_below_five_videos_per_feature_there_is_no_line(n, fitted):
    told = curve(*draw(replace(SMALL, n=n)))
    if fitted < 4:
        assert told["fit"] is None and not any(p["fitted"] for p in told["points"])
        assert told["reason"].startswith(f"{fitted} of the points have more than 2 x 8 videos")
        assert "more than 40 videos" in told["reason"]
    else:
        assert told["fit"] and told["reason"] == ""


def test_groups_count_once():
    """80 clips of 16 groups are no 80 independent videos."""
    seeds, reference = draw(replace(SMALL, n=80))
    groups = tuple(str(i // 5) for i in range(80))
    told = curve([replace(seeds[0], groups=groups)], replace(reference, groups=groups))
    assert told["fit"] is None and "0 of the points" in told["reason"]


def test_no_videos_have_no_points():
    nobody = Sample(np.zeros((0, 8)), np.zeros((0, 1)), (), ())
    told = curve([nobody], nobody)
    assert told["points"] == [] and told["fit"] is None and told["reason"]


def test_points_that_bend_are_not_called_a_line(monkeypatch):
    same = World(n=128, dim=32, strength=0.0)
    assert curve(*draw(replace(same, dim=8)))["fit"]["curvature"] < 3
    monkeypatch.setattr(extrapolate, "PER_FEATURE", 0)  # points with far fewer videos than features count as well
    monkeypatch.setattr(extrapolate, "PARTS", (1.0, 4.0, 8.0, 12.0, 16.0))
    told = curve(*draw(same))
    assert "they bend by 8" in told["reason"] and told["fit"] is None


def test_seeds_are_averaged_and_settings_reach_it():
    (one,), reference = draw()
    other = replace(one, features=one.features * 1.1)
    both = curve([one, other], reference)
    assert at_the_end(both) == pytest.approx(
        (at_the_end(curve([one], reference)) + at_the_end(curve([other], reference))) / 2
    )
    assert "2 training seeds" in both["fit"]["words"] and both["seeds"] == 2
    assert at_the_end(curve([one], reference, Settings(ddof=0))) != at_the_end(curve([one], reference))
    assert curve([one], reference, Settings(root="sqrtm")) == curve([one], reference)  # always the stable form
    assert PLAIN.dim * 5 > PLAIN.n  # the size at which intervals are proved is too small for a line
