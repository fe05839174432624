"""The arithmetic of other public code: closed forms, the reference numbers, and the errors that belong to it."""

import json
import re

import numpy as np
import pytest
import torch

from bench.metrics import averages, roots
from bench.metrics.averages import Average, block_distances, single_precision, subset_distances, torchmetrics_subsets
from bench.metrics.frechet import frechet_from_features
from bench.metrics.kernel import CUBIC, Polynomial, kernel_distance
from tests.bench.metrics.worlds import golden_features

REGULAR = ("corr_N2048_vs_512", "iid_D8_N1000")
SINGULAR = ("corr_N64", "identical_N64", "illcond_N256", "lowrank_N2048")
DOUBLE = {  # key of the reference numbers: root, divisor N - this
    "cdfvd": ("sqrtm", 0),
    "styleganv": ("sqrtm", 0),
    "common_metrics_styleganv": ("sqrtm", 1),
    "pytorch_fid": ("sqrtm", 1),
    "torch_fidelity_float64_input": ("eigenvalues", 1),
    "torchmetrics_class_float64_input": ("eigenvalues", 1),
    "tfgan_float64_input": ("svd", 1),
}
SINGLE = {
    "common_metrics_styleganv_float32_input": ("sqrtm", 1),
    "torch_fidelity_float32_input": ("eigenvalues", 1),
    "tfgan_float32_input": ("svd", 1),
}
AVERAGED = ("corr_N64", "identical_N64", "corr_N256")


def rows(n=60, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def small():
    """N = 64 videos of 400 features: singular, and reference numbers exist."""
    x = golden_features(20001, 64, 400, 777)
    return x, golden_features(20002, 64, 400, 777, wscale=1.1, shift=0.3)


# ---- Frechet ----


@pytest.mark.parametrize("root", roots.ROOTS)
@pytest.mark.parametrize("ddof", [0, 1])
def test_every_root_agrees_where_nothing_is_hard(root, ddof):
    x, y = rows(), 1.5 * rows(seed=1) + 0.3
    loose = 1e-5 if "svd" in root else 1e-7  # answers of single precision
    assert roots.frechet_by(root, x, y, ddof) == pytest.approx(frechet_from_features(x, y, ddof), rel=loose)


@pytest.mark.parametrize("root", roots.ROOTS)
def test_a_shift_is_its_square_and_one_feature_has_a_closed_form(root):
    x = rows(80, 1)
    s = x.std(ddof=1)
    assert roots.frechet_by(root, x, 3 * x + 2, 1) == pytest.approx((2 * s) ** 2 + (2 * x.mean() + 2) ** 2, rel=1e-5)


def test_divisors_differ_by_one_video():
    x, y = rows(6), 2 * rows(7, seed=1)
    for root in roots.SMOOTH:
        assert roots.frechet_by(root, x, y, 0) < roots.frechet_by(root, x, y, 1)


def test_reference_numbers_of_our_own():
    """What StyleGAN-V, common_metrics, torch-fidelity, TF-GAN and TATS print for 64 videos of these features."""
    x, y = small()
    a, b = x.astype(float), y.astype(float)
    assert roots.by_sqrtm(a, b, 0) == pytest.approx(6046.925577438919, abs=1e-2)
    assert roots.by_sqrtm(a, b, 1) == pytest.approx(6120.646408535776, abs=1e-2)
    assert roots.by_eigenvalues(a, b, 1) == pytest.approx(6120.646365045868, abs=1e-2)
    assert roots.by_svd(x, y, 1) == pytest.approx(6120.65283203125, abs=1e-2)
    single = roots.by_float32_svd(x, y, 1)
    assert single == pytest.approx(6127.8271484375, abs=3e-4 * 57287.1)
    assert abs(single - frechet_from_features(x, y)) > 1  # the error is part of it


def test_single_precision_finds_a_distance_between_equal_sets():
    x, _ = small()
    assert roots.by_float32_svd(x, x, 1) > 1 and abs(roots.by_svd(x, x, 1)) < 1e-2
    before = x.copy()
    roots.by_float32_svd(x, x, 1)
    assert np.array_equal(x, before)  # VideoGPT centres its input in place; here a second call says the same


def test_threads_do_not_change_single_precision():
    x, y = small()
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(roots.by_float32_svd(x, y, 1))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_means_are_taken_in_the_precision_of_the_features():
    x, y = (golden_features(seed, 300, 4, 777, offset=1e4) for seed in (20001, 20002))
    exact, rounded = (roots.by_sqrtm(x.astype(kind), y.astype(kind), 1) for kind in (float, np.float32))
    assert 1e-9 < abs(rounded - exact) / exact < 0.05


def test_scipy_may_no_longer_know_how_to_be_quiet(monkeypatch):
    """Since 1.18 there is no `disp`; before 1.16 a singular matrix was told on standard output."""
    from scipy import linalg

    real = linalg.sqrtm

    def later(matrix):
        print("Matrix is singular")
        return real(matrix)

    monkeypatch.setattr(linalg, "sqrtm", later)
    x, y = rows(4, 8), rows(4, 8, 1)
    assert roots.by_sqrtm(x, y, 1) == pytest.approx(frechet_from_features(x, y), abs=1e-3)


def test_a_complex_root_is_taken_by_its_real_part(capsys):
    x, y = small()
    assert np.iscomplexobj(roots.matrix_root(np.diag([1.0, -1e-9])))
    assert isinstance(roots.by_sqrtm(x.astype(float), y.astype(float), 1), float)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def reference(golden):
    folder = golden / "metrics"
    made, kernels = (
        json.loads((folder / f"{n}_golden.json").read_text())["cases"] for n in ("frechet", "kvd")
    )  # fmt: skip

    def of(name):
        x, y = (golden_features(**made[name][side]) for side in ("params_real", "params_fake"))
        return x, y, made[name], kernels[name]

    return of


@pytest.mark.parametrize("name", REGULAR + SINGULAR)
def test_reference_numbers_of_every_root(reference, name):
    x, y, case, _ = reference(name)
    bound = {"rel": 1e-8} if name in REGULAR else {"abs": 1e-2}
    for key, (root, ddof) in {**DOUBLE, **SINGLE}.items():
        kind = np.float32 if key in SINGLE else np.float64
        want = case[key]["fd"] if isinstance(case[key], dict) else case[key]
        if name == "iid_D8_N1000" and key == "torch_fidelity_float32_input":
            bound = {"rel": 1e-6}  # its means are summed by torch
        found = getattr(roots, f"by_{root}")(x.astype(kind), y.astype(kind), ddof)
        assert found == pytest.approx(want, **bound), key
    single = roots.by_float32_svd(x, y, 1)
    noise = 3e-4 * case["reference_nuclear_norm_ddof1"]["trace_sum"]
    assert single == pytest.approx(case["tats_lvdm_float32"], abs=noise)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda: roots.frechet_by("cholesky", rows(), rows(), 1), "root is 'cholesky'; known: nuclear norm, sqrtm"),
        (lambda: roots.by_sqrtm(rows(1), rows(), 1), "1 and 60 features; wanted more than 1 each"),
        (lambda: roots.by_eigenvalues(rows(), rows(60, 4), 1), r"wanted \(N, 5\)"),
        (lambda: roots.by_svd(rows() * np.nan, rows(), 1), "not finite in row 0"),
        (lambda: subset_distances(rows(5), rows(6), 2, 6, np.random.RandomState(0)), "size 6 of 5 and 6"),
        (lambda: torchmetrics_subsets(rows(5), rows(6), 2, 6, 0), "size 6 of 5 and 6"),
        (lambda: single_precision(rows(1), rows()), "1 and 60 features"),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken, words):
    with pytest.raises(ValueError, match=words):
        broken()


# ---- kernel averages ----


def test_near_equal_blocks_hold_every_feature_once():
    parts = averages.split(np.arange(11.0)[:, None], 3)
    assert [len(part) for part in parts] == [3, 4, 4]
    assert np.concatenate(parts).ravel().tolist() == list(range(11))


def test_one_block_or_one_whole_subset_is_the_estimate_from_all():
    x, y = rows(30), rows(30, seed=1) + 0.4
    whole = pytest.approx(kernel_distance(x, y), rel=1e-9)
    assert block_distances(x, y, 30) == whole and len(block_distances(x, y, 29)) == 2
    assert subset_distances(x, y, 2, 30, np.random.RandomState(3)) == whole
    assert torchmetrics_subsets(x, y, 2, 30, 3) == whole


def test_an_average_by_hand():
    found = Average(np.array([1.0, 2.0, 6.0]))
    assert (found.mean, found.deviation) == pytest.approx((3.0, (14 / 3) ** 0.5))
    assert found.error == pytest.approx((7 / 3) ** 0.5)
    assert Average(np.array([4.0])).error is None


def test_single_precision_is_rounded_and_no_more(monkeypatch):
    x, y = rows(40) + 0.2, rows(30, seed=1) + 0.4
    kernel = Polynomial(2, 0.5, 0.3)
    exact = kernel_distance(x, y, kernel=kernel)
    whole = single_precision(x, y, kernel)
    monkeypatch.setattr(averages, "BLOCK", 7)
    assert whole == np.float32(whole) != exact and whole == pytest.approx(exact, abs=1e-5)
    assert single_precision(x, y, kernel) == pytest.approx(whole, abs=1e-6)


def test_averages_of_our_own():
    """Printed for these features by scikit-learn's kernel (TATS), torch-fidelity, torchmetrics, StyleGAN's KID."""
    x, y = small()
    one = 1e-6 * np.mean(CUBIC.diagonal(x.astype(float), x.astype(float)))
    assert single_precision(x, y) == pytest.approx(75.6810302734375, abs=one)
    fidelity = Average(subset_distances(x, y, 100, 50, np.random.RandomState(2020)))
    assert [fidelity.mean, fidelity.deviation] == pytest.approx([109.63949973526589, 979.524205685839], rel=1e-9)
    found = Average(torchmetrics_subsets(x, y, 100, 50, 2020))
    assert [found.mean, found.deviation] == pytest.approx([89.57504941519474, 875.9122724329137], rel=1e-9)
    stylegan = subset_distances(x, y, 100, 50, np.random.RandomState(2020), fake_first=True, single=True)
    assert stylegan.mean() == pytest.approx(-105.21446990966797, abs=one)


@pytest.mark.parametrize("name", AVERAGED)
def test_reference_numbers_of_every_average(reference, name):
    x, y, _, case = reference(name)
    largest = max(float(np.mean(CUBIC.diagonal(s.astype(float), s.astype(float)))) for s in (x, y))
    checked = 0
    for key, want in case.items():
        found = averaged(key, x, y)
        if found is None or want is None:
            continue
        told = [want / 1000] if "x1000" in key else [want] if isinstance(want, float) else [*want.values()][:2]
        assert [one is None for one in found] == [one is None for one in told], key
        bound = (1e-6 if "float32" in key else 1e-9) * largest
        pairs = [pair for pair in zip(found, told, strict=True) if None not in pair]
        assert [a for a, _ in pairs] == pytest.approx([b for _, b in pairs], abs=bound, rel=0), key
        checked += 1
    assert checked >= 6


def averaged(key, x, y):
    """What we compute for a key of the reference numbers: [mean, deviation or standard error]."""
    single, numbers = "float32" in key, [int(n) for n in re.findall(r"(?:subsets|size|block)(\d+)", key)]
    if key.startswith(("tats", "torchmetrics_poly")):
        return [single_precision(x, y) if single else kernel_distance(x, y)]
    if key.startswith("tfgan"):
        found = Average(block_distances(x, y, *numbers, single=single))
        return [found.mean, found.error]
    if key.startswith("torchmetrics_class"):
        found = Average(torchmetrics_subsets(x, y, *numbers, 2020))
        return [found.mean, found.deviation]
    if not key.startswith(("torch_fidelity", "styleganv")):
        return None
    first = key.startswith("stylegan")
    parts = subset_distances(x, y, *numbers, np.random.RandomState(2020), fake_first=first, single=single)
    return [Average(parts).mean] + [Average(parts).deviation] * (not first)
