"""KVD and PIC: worked out by hand, the reference numbers, leaving units out."""

import json

import numpy as np
import pytest

from bench.metrics import kernel, pic
from bench.metrics.kernel import Polynomial, kernel_distance, kernel_sums, leave_out
from tests.bench.metrics.worlds import golden_features

CASES = ("corr_N2048_vs_512", "corr_N256", "corr_N64", "identical_N64", "illcond_N256", "iid_D8_N1000")


def rows(n=12, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_two_features_against_two_by_hand():
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])  # D = 1: k(a, b) = (ab + 1)^3
    xx, yy, xy = 1.0, 27.0, [1.0, 1.0, 8.0, 27.0]
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * np.mean(xy))
    assert kernel_distance(x, y, "biased") == pytest.approx(
        np.mean([1, 1, 1, 8]) + np.mean([8, 27, 27, 125]) - 2 * np.mean(xy)
    )
    assert kernel_distance(x, y, "u_statistic") == pytest.approx(xx + yy - 2 * np.mean([1.0, 8.0]))


def test_the_definition_in_one_line_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK", 5)
    x, y = rows(13), rows(9, seed=1) + 0.5
    k = Polynomial(2, 0.7, 0.3)
    xx, yy, xy = ((0.7 * a @ b.T + 0.3) ** 2 for a, b in ((x, x), (y, y), (x, y)))
    want = (xx.sum() - np.trace(xx)) / 156 + (yy.sum() - np.trace(yy)) / 72 - 2 * xy.mean()
    assert kernel_distance(x, y, kernel=k) == pytest.approx(want, rel=1e-12)


def test_identical_sets_are_negative_when_unbiased_and_zero_when_biased():
    x = rows(30)
    assert kernel_distance(x, x) < 0
    assert kernel_distance(x, x, "biased") == pytest.approx(0, abs=1e-12)


@pytest.fixture
def reference(golden):
    folder = golden / "metrics"
    made = json.loads((folder / "frechet_golden.json").read_text())["cases"]
    found = json.loads((folder / "kvd_golden.json").read_text())["cases"]

    def of(name):
        x, y = (golden_features(**made[name][side]) for side in ("params_real", "params_fake"))
        return x, y, found[name]

    return of


def size(x, y, k):
    """The largest kernel mean: what tolerances are relative to."""
    sums = kernel_sums(x.astype(float), y.astype(float), k)
    return max(np.mean(sums.diagonal_x), np.mean(sums.diagonal_y))


@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(reference, name):
    x, y, want = reference(name)
    kernels = {"1_over_d": kernel.CUBIC, "1_fvd_paper_form": Polynomial(gamma=1.0)}
    for key, k in kernels.items():
        for estimator, value in want[f"full_float64_gamma_{key}"].items():
            if value is not None:
                found = kernel_distance(x, y, estimator, k)
                assert found == pytest.approx(value, rel=1e-9, abs=1e-12 * size(x, y, k)), estimator


def test_reference_numbers_of_our_own():
    x = golden_features(20001, 64, 400, 777)
    y = golden_features(20002, 64, 400, 777, wscale=1.1, shift=0.3)
    assert kernel_distance(x, y) == pytest.approx(75.68005579182682, rel=1e-9)
    assert kernel_distance(x, y, "u_statistic") == pytest.approx(-29.62027113773729, rel=1e-9)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 0), (0, 1), (3, 2)])
def test_leaving_out_is_computing_again(sizes):
    x, y = rows(12), rows(10, seed=1) + 0.4
    units = [(np.arange(i, i + sizes[0]), np.arange(i, i + sizes[1])) for i in (0, 3, 7)]
    want = [kernel_distance(np.delete(x, a, 0), np.delete(y, b, 0)) for a, b in units]
    np.testing.assert_allclose(leave_out(x, y, units), want, rtol=1e-10)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda: kernel_distance(rows(), rows(), "fast"), "estimator is 'fast'; known: unbiased"),
        (lambda: kernel_distance(rows(1), rows()), "1 and 12 features"),
        (lambda: kernel_distance(rows(5), rows(6), "u_statistic"), "pairs item by item"),
        (lambda: leave_out(rows(2), rows(2), [(np.array([0]), np.array([0]))]), "1 and 1 features would remain"),
        (lambda: pic.pic(np.zeros((0, 4))), "no videos"),
        (lambda: pic.pic(np.zeros((3, 1)), count_first_frame=False), "no frame to count in clips of 1 frames"),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken, words):
    with pytest.raises(ValueError, match=words):
        broken()


# ---- PIC ----


def test_pic_by_hand_with_and_without_frame_0():
    conformity = np.array([[1.0, 0.5, 0.0], [1.0, 0.75, 0.5]])
    assert pic.pic(conformity) == pytest.approx((0.5 + 0.75) / 2)
    assert pic.pic(conformity, count_first_frame=False) == pytest.approx((0.25 + 0.625) / 2)
    assert pic.per_video(conformity).tolist() == pytest.approx([0.5, 0.75])


def test_pic_without_a_unit():
    videos = np.array([0.1, 0.2, 0.9])
    none = np.array([], int)
    found = pic.leave_out(videos, [(np.array([2]), none), (np.array([0, 1]), none)])
    assert found.tolist() == pytest.approx([0.15, 0.9])
