"""Means, covariances and the Frechet distance: closed forms, the reference numbers, and what must not matter."""

import json

import numpy as np
import pytest

from bench.metrics.frechet import frechet_distance, frechet_from_features, leave_out
from bench.metrics.statistics import Gaussian, Statistics
from tests.bench.metrics.worlds import golden_features

SMALL = ("iid_D8_N1000", "corr_N64", "identical_N64", "corr_N256", "illcond_N256", "samedist_N256")
BIG = ("corr_N2048", "corr_N2048_vs_512", "lowrank_N2048", "constcols_N2048", "bigoffset_N2048", "illcond_N2048")


def rows(n=64, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# ---- statistics ----


@pytest.mark.parametrize("batch", [1, 7, 64, 300])
def test_statistics_are_those_of_numpy_and_the_batch_does_not_change_a_bit(batch):
    features = 100 + rows(700)
    parts = Statistics(8)
    for start in range(0, len(features), batch):
        parts.update(features[start : start + batch])
    found, whole = parts.gaussian(), Statistics(8).update(features).gaussian()
    np.testing.assert_allclose(found.cov, np.cov(features.T), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-14)
    assert found.count == 700
    assert np.array_equal(found.cov, whole.cov) and np.array_equal(found.mean, whole.mean)


def test_a_large_mean_does_not_cancel():
    found = Statistics(4).update(1e8 + rows(500, 4)).gaussian().cov
    np.testing.assert_allclose(found, np.cov((1e8 + rows(500, 4)).T), rtol=1e-6, atol=1e-7)


def test_merging_in_any_order_agrees_and_leaves_the_other_alone():
    pieces = [rows(n, 8, seed) for seed, n in enumerate((3, 300, 41))]
    orders = ([0, 1, 2], [2, 1, 0], [1, 0, 2])
    found = []
    for order in orders:
        parts = [Statistics(8).update(pieces[k]) for k in order]
        whole = Statistics(8)
        for part in parts:
            whole.merge(part)
        assert [part.count for part in parts] == [len(pieces[k]) for k in order]
        found.append(whole.gaussian().cov)
    want = np.cov(np.concatenate(pieces).T)
    for cov in found:
        np.testing.assert_allclose(cov, want, rtol=1e-12, atol=1e-14)


def test_rows_may_be_overwritten_after_they_were_handed_over():
    buffer, parts = np.zeros((5, 3)), Statistics(3)
    for seed in range(4):
        buffer[:] = rows(5, 3, seed)
        parts.update(buffer)
    want = np.concatenate([rows(5, 3, seed) for seed in range(4)])
    np.testing.assert_allclose(parts.gaussian().mean, want.mean(0), atol=1e-14)


def test_memory_does_not_grow_with_the_number_of_rows():
    parts = Statistics(2)
    for seed in range(40):
        parts.update(rows(100, 2, seed))
        assert sum(map(len, parts._waiting)) < 256
    assert parts.count == 4000


def test_asking_does_not_change_the_answer():
    parts = Statistics(8).update(rows(10))
    parts.gaussian()
    parts.update(rows(600, 8, 1))
    whole = Statistics(8).update(np.concatenate([rows(10), rows(600, 8, 1)]))
    assert np.array_equal(parts.gaussian().cov, whole.gaussian().cov)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda: Statistics(8).update(np.full((2, 8), np.nan)), "not finite in row 0"),
        (lambda: Statistics(8).update(rows(4, 7)), r"shape \(4, 7\); wanted \(N, 8\)"),
        (lambda: Statistics(8).update(rows(1)).gaussian(), "1 features; wanted more than 1"),
        (lambda: Statistics(8).update(rows(4)).gaussian(2), "ddof is 2"),
        (lambda: Statistics(0), "dim is 0"),
        (lambda: Statistics(8).merge(Statistics(7)), "7 dimensions into 8"),
        (lambda: Gaussian(np.zeros(3), np.eye(4)), "do not fit"),
        (lambda: frechet_from_features(rows(1), rows(5)), "1 and 5 features"),
        (lambda: frechet_from_features(rows(5, 3), rows(5, 4)), r"wanted \(N, 3\)"),
        (lambda: leave_out(rows(3), rows(3), [(np.arange(2), np.arange(2))]), "1 and 1 features"),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken, words):
    with pytest.raises(ValueError, match=words):
        broken()


# ---- Frechet distance ----


def test_two_gaussians_in_closed_form():
    d, s = 8, 3.0  # N(0, I) and N(m, s^2 I): |m|^2 + d (1 - s)^2 = 2 + 32
    a, b = Gaussian(np.zeros(d), np.eye(d)), Gaussian(np.full(d, 0.5), s**2 * np.eye(d))
    assert [frechet_distance(a, b), frechet_distance(b, a)] == pytest.approx([34.0, 34.0], rel=1e-12)


def test_covariances_that_share_no_direction():
    a, b = np.diag([4.0, 0, 0]), np.diag([0, 9.0, 1.0])  # the root is 0: the distance is the sum of traces
    assert frechet_distance(Gaussian(np.zeros(3), a), Gaussian(np.zeros(3), b)) == pytest.approx(14.0, rel=1e-12)


def reference_cases(golden):
    return json.loads((golden / "metrics" / "frechet_golden.json").read_text())["cases"]


@pytest.mark.parametrize("name", SMALL + BIG)
def test_reference_numbers(golden, name):
    case = reference_cases(golden)[name]
    x, y = (golden_features(**case[side]) for side in ("params_real", "params_fake"))
    parts = [Statistics(x.shape[1]).update(side) for side in (x, y)]
    for ddof in (0, 1):
        want = case[f"reference_nuclear_norm_ddof{ddof}"]
        found = [frechet_from_features(x, y, ddof), frechet_distance(*(p.gaussian(ddof) for p in parts))]
        small = 1e-14 * want["trace_sum"]  # of identical sets, where the distance is 0
        assert found == pytest.approx([want["fd"]] * 2, rel=1e-8, abs=small)
        assert min(found) >= 0.0


def test_reference_numbers_of_our_own():
    """Without the golden folder: the value of corr_N64, N <= D, with both divisors."""
    x = golden_features(20001, 64, 400, 777)
    y = golden_features(20002, 64, 400, 777, wscale=1.1, shift=0.3)
    found = [frechet_from_features(x, y, ddof) for ddof in (1, 0)]
    assert found == pytest.approx([6120.652790545348, 6046.9318849089395], rel=1e-10)


@pytest.mark.parametrize("n, d", [(2, 5), (5, 5), (6, 5), (40, 5), (3, 400)])
def test_features_and_gaussians_agree_and_identical_sets_are_at_zero(n, d):
    x, y = rows(n, d), 0.5 + 2 * rows(n, d, 1)
    a, b = (Statistics(d).update(side).gaussian() for side in (x, y))
    assert frechet_from_features(x, y) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_from_features(x, y) == pytest.approx(frechet_from_features(y, x), rel=1e-12)
    scale = 1e-13 * np.trace(a.cov)
    assert 0 <= frechet_from_features(x, x) <= scale and 0 <= frechet_distance(a, a) <= scale


def test_rounding_in_a_singular_covariance_is_not_multiplied_by_a_full_one():
    x, y = rows(10, 60), rows(400, 60, 1)  # each of 51 zero eigenvalues would add the root of its rounding error
    a, b = (Statistics(60).update(side).gaussian() for side in (x, y))
    assert frechet_distance(a, b) == pytest.approx(frechet_from_features(x, y), rel=1e-10)


def test_a_shift_is_its_square():
    x = rows(50, 6)
    assert frechet_from_features(x, x + 2.0) == pytest.approx(24.0, rel=1e-10)


# ---- leaving units out ----


def refits(x, y, units, ddof):
    return [frechet_from_features(np.delete(x, a, 0), np.delete(y, b, 0), ddof) for a, b in units]


@pytest.mark.parametrize("n, d", [(60, 12), (20, 12), (12, 12), (10, 30)])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 0), (0, 1), (3, 2), (4, 4)])
def test_leaving_out_is_refitting(n, d, ddof, sizes):
    x = rows(n, d) * np.geomspace(1, 1e-3, d)
    y = 0.6 * x + rows(n, d, 1) * np.geomspace(1, 1e-2, d) + 0.3
    order = np.random.default_rng(2).permutation(n)
    units = [(order[: sizes[0]], order[: sizes[1]]), (order[-sizes[0] or n :], order[-sizes[1] or n :])]
    want = refits(x, y, units, ddof)
    step = abs(np.array(want) - frechet_from_features(x, y, ddof)).max()
    np.testing.assert_allclose(leave_out(x, y, units, ddof), want, rtol=1e-9, atol=1e-5 * step)


def test_units_of_many_sizes_at_once_keep_their_places():
    x, y = rows(60, 8), rows(50, 8, 1) + 0.2
    cuts = [(slice(0, 1), slice(0, 0)), (slice(1, 30), slice(0, 20)), (slice(30, 33), slice(20, 22))]
    cuts += [(slice(40, 41), slice(30, 30))]
    units = [(np.arange(60)[a], np.arange(50)[b]) for a, b in cuts]
    np.testing.assert_allclose(leave_out(x, y, units), refits(x, y, units, 1), rtol=1e-7)


def test_features_that_never_vary_can_be_left_out_too():
    x, y = rows(9, 4), rows(9, 4, 1)
    x[:, 2] = y[:, 2] = 7.0
    units = [(np.array([i]), np.array([i])) for i in range(9)]
    np.testing.assert_allclose(leave_out(x, y, units), refits(x, y, units, 1), rtol=1e-7)
    still = np.ones((5, 4))
    assert leave_out(still, still + 1, units[:5]) == pytest.approx(4.0)
