"""Reference values of FVD and KVD: scipy, scikit-learn, torch-fidelity, torchmetrics, pytorch-fid. Run by `make.py`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from bench.verify_inputs import features

Array = np.ndarray


def cases(seed: int, large: bool) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Parameters of both sets of every case: full rank and singular, offset, equal, unequal numbers."""
    n, few, d = (1024, 96, 300) if large else (160, 30, 40)
    real = {"seed": seed + 11, "N": n, "D": d, "wseed": seed + 13}
    fake = {"seed": seed + 12, "N": n, "D": d, "wseed": seed + 13, "wscale": 1.2, "shift": 0.4}
    return {
        "full": (real, fake),
        "fewer_than_dimensions": (real | {"N": few}, fake | {"N": few}),
        "unequal": (real, fake | {"N": 3 * n // 4}),
        "low_rank": (real | {"noise": 0.0, "K": 7}, fake | {"noise": 0.0, "K": 7}),
        "constant": (real | {"nconst": d // 8}, fake | {"nconst": d // 8}),
        "decades": (real | {"decades": 4.0}, fake | {"decades": 4.0}),
        "offset": (real | {"offset": 100.0}, fake | {"offset": 100.0}),
        "small": (real | {"scale": 0.01}, fake | {"scale": 0.01}),
        "equal": (real, dict(real)),
    }


def make(out: Path, seed: int, large: bool) -> None:
    """Both files."""
    frechet: dict[str, Any] = {}
    kernel: dict[str, Any] = {}
    for name, (real, fake) in cases(seed, large).items():
        x, y = features(real), features(fake)
        frechet[name] = {"params_real": real, "params_fake": fake, **described(x, y), **distances(x, y)}
        kernel[name] = kernels(x, y, seed, large)
    for stem, content in (("frechet", frechet), ("kvd", kernel)):
        (out / f"{stem}.json").write_text(json.dumps({"cases": content}, indent=1) + "\n", encoding="utf-8")


def described(x: Array, y: Array) -> dict[str, Any]:
    """Hash and first values of both sets."""
    found: dict[str, Any] = {}
    for side, rows in (("real", x), ("fake", y)):
        found[f"sha256_{side}"] = hashlib.sha256(rows.tobytes()).hexdigest()
        found[f"{side}_first3"] = [float(value) for value in rows.reshape(-1)[:3]]
    return found


# ---- Frechet ----


def distances(x32: Array, y32: Array) -> dict[str, Any]:
    """Every form of the distance."""
    x, y = x32.astype(np.float64), y32.astype(np.float64)
    found: dict[str, Any] = {f"reference_nuclear_norm_ddof{d}": nuclear(x, y, d) for d in (0, 1)}
    found["styleganv"] = by_sqrtm(x, y, 0)
    found["common_metrics_styleganv"] = by_sqrtm(x, y, 1)
    found["pytorch_fid"] = float(calculate_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)))
    for bits, a, b in ((32, x32, y32), (64, x, y)):
        one, two = (fid_features_to_statistics(torch.from_numpy(side)) for side in (a, b))
        found[f"torch_fidelity_float{bits}_input"] = float(fid_statistics_to_metric(one, two, False)[KEY])
    moments = [(torch.from_numpy(s.mean(0)), torch.from_numpy(np.cov(s.T))) for s in (x, y)]
    found["torchmetrics_formula_float64"] = float(_compute_fid(*moments[0], *moments[1]))
    found["tats_lvdm_float64"] = by_torch_svd(torch.from_numpy(x), torch.from_numpy(y))
    found["tats_lvdm_float32"] = by_torch_svd(torch.from_numpy(x32), torch.from_numpy(y32))
    return found


KEY = "frechet_inception_distance"


def nuclear(x: Array, y: Array, ddof: int) -> dict[str, float]:
    """The stable form and its terms, by the singular values of the product of both centred matrices."""
    a = (x - x.mean(0)) / np.sqrt(len(x) - ddof)
    b = (y - y.mean(0)) / np.sqrt(len(y) - ddof)
    root = float(linalg.svdvals(linalg.qr(a, mode="r")[0] @ linalg.qr(b, mode="r")[0].T).sum())
    mean, trace = float(((x.mean(0) - y.mean(0)) ** 2).sum()), float((a**2).sum() + (b**2).sum())
    return {"fd": mean + trace - 2 * root, "mean_term": mean, "trace_sum": trace, "trace_sqrt": root}


def by_sqrtm(x: Array, y: Array, ddof: int) -> float:
    """scipy's matrix root, real part."""
    s, t = np.cov(x, rowvar=False, ddof=ddof), np.cov(y, rowvar=False, ddof=ddof)
    root = np.trace(linalg.sqrtm(s @ t)).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * root)


def by_torch_svd(x: torch.Tensor, y: torch.Tensor) -> float:
    """The formula of VideoGPT, TATS and LVDM in the precision of its input."""

    def root(matrix: torch.Tensor) -> torch.Tensor:
        u, s, v = torch.svd(matrix)
        return u @ torch.diag(torch.where(s < 1e-10, s, s.sqrt())) @ v.t()

    s, t = torch.cov(x.t()), torch.cov(y.t())
    half = root(s)
    trace = torch.trace(s + t) - 2 * torch.trace(root(half @ (t @ half)))
    return float(trace + ((x.mean(0) - y.mean(0)) ** 2).sum())


# ---- kernel ----


def kernels(x32: Array, y32: Array, seed: int, large: bool) -> dict[str, Any]:
    """Every form of the kernel distance."""
    x, y = x32.astype(np.float64), y32.astype(np.float64)
    found: dict[str, Any] = {"full_float64_gamma_1_over_d": full(x, y, None)}
    found["full_float64_gamma_1_fvd_paper_form"] = full(x, y, 1.0)
    for bits, a, b in ((32, x32, y32), (64, x, y)):
        found[f"tats_lvdm_float{bits}_sklearn"] = full(a, b, None)["unbiased"]
        same = len(a) == len(b)
        found[f"torchmetrics_poly_mmd_float{bits}"] = (
            float(poly_mmd(torch.from_numpy(a), torch.from_numpy(b))) if same else None
        )
    subsets, size = (50, 90) if large else (20, 25)
    for bits, a, b in ((32, x32, y32), (64, x, y)):
        kid = kid_features_to_metric(
            torch.from_numpy(a),
            torch.from_numpy(b),
            kid_subsets=subsets,
            kid_subset_size=size,
            rng_seed=seed,
            verbose=False,
        )
        key = f"torch_fidelity_float{bits}_subsets{subsets}_size{size}_rngseed{seed}"
        found[key] = {
            "mean": float(kid["kernel_inception_distance_mean"]),
            "std": float(kid["kernel_inception_distance_std"]),
        }
    key = f"styleganv_kid_x1000_float32_subsets{subsets}_size{size}_npseed{seed}"
    found[key] = nvidia(x32, y32, subsets, size, seed)
    key = f"torchmetrics_class_float64_subsets{subsets}_size{size}_torchseed{seed}"
    found[key] = by_torchmetrics(x, y, subsets, size, seed)
    for block in (64, 1024):
        found[f"tfgan_block_rule_float64_block{block}"] = blocks(x, y, block)
    return found


def full(x: Array, y: Array, gamma: float | None) -> dict[str, float]:
    """All samples, by scikit-learn's kernel."""
    n, m = len(x), len(y)
    xx, yy, xy = (polynomial_kernel(a, b, gamma=gamma) for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    found = {
        "unbiased": float(within - 2 * xy.mean()),
        "biased": float(xx.mean() + yy.mean() - 2 * xy.mean()),
    }
    if n == m:
        found["u_statistic"] = float(within - 2 * (xy.sum() - np.trace(xy)) / (n * (n - 1)))
    return found


def nvidia(real: Array, fake: Array, subsets: int, size: int, seed: int) -> float:
    """The KID of the StyleGAN code: fakes drawn first, times 1000."""
    np.random.seed(seed)
    total = 0.0
    for _ in range(subsets):
        x = fake[np.random.choice(len(fake), size, replace=False)]
        y = real[np.random.choice(len(real), size, replace=False)]
        within = (x @ x.T / x.shape[1] + 1) ** 3 + (y @ y.T / x.shape[1] + 1) ** 3
        across = (x @ y.T / x.shape[1] + 1) ** 3
        total += (within.sum() - np.diag(within).sum()) / (size - 1) - across.sum() * 2 / size
    return float(total / subsets / size * 1000)


def by_torchmetrics(real: Array, fake: Array, subsets: int, size: int, seed: int) -> dict[str, float]:
    """The class of torchmetrics, features in place of images."""
    metric = KernelInceptionDistance(feature=torch.nn.Identity(), subsets=subsets, subset_size=size)
    metric.set_dtype(torch.float64)
    metric.real_features, metric.fake_features = [torch.from_numpy(real)], [torch.from_numpy(fake)]
    torch.manual_seed(seed)
    mean, std = metric.compute()
    return {"mean": float(mean), "std": float(std)}


def blocks(x: Array, y: Array, largest: int) -> dict[str, Any]:
    """TF-GAN's rule: near-equal consecutive blocks, smaller ones first."""
    count = -(-max(len(x), len(y)) // largest)

    def split(rows: Array) -> list[Array]:
        small, more = divmod(len(rows), count)
        ends = np.cumsum([small] * (count - more) + [small + 1] * more)
        return np.split(rows, ends[:-1])

    values = [full(a, b, None)["unbiased"] for a, b in zip(split(x), split(y), strict=True)]
    error = float(np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else None
    return {"mean": float(np.mean(values)), "stderr": error, "n_blocks": count}
