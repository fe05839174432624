"""Do FVD and KVD come out as public code computes them, on features that a rule makes?

Reads golden JSON `cases: {name: values}`; the parameters of the features are in the file, or, for KVD, in the file of
the same cases beside it. Every value is compared, or said to be left out and why. Source:
`tests/golden/metrics/README.md`, which names the bounds: relative to the trace where covariances are singular, to the
largest mean of the kernel for KVD.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.metrics import averages, kernel, roots
from bench.metrics.averages import Average
from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.kernel import Polynomial
from bench.metrics.statistics import Array, Statistics
from bench.verify_cases import Beside, Case, Left, is_number, true, within
from bench.verify_inputs import Floats, features, usual_parameters

Answer = Iterator[Case | Left]

EXACT = 1e-8  # of the distance, float64 and full rank
FLOOR = 1e-12  # of the trace: what a difference of large sums can be known to
SINGULAR, MOST = 1e-6, 1e-2  # of the trace, and at most this or 2e-7 of it: roots of eigenvalues that should be 0
ILL = 1e-6  # of the distance, where columns span many decades
SINGLE_INPUT = 1e-6  # of the distance: means of single-precision features
SINGLE = 1e-3  # of the trace: single precision throughout, whose errors depend on the linear algebra library
KERNEL_DOUBLE, KERNEL_SINGLE = 1e-9, 1e-6  # of the largest mean of the kernel
DECADES, NO_RANK = 3.0, 6.0  # of the columns: from where roots lose digits, and all of them


def is_frechet(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object holds Frechet distances of features made by the rule."""
    return any("params_real" in case and _known(case, FRECHET) for case in cases_of(content).values())


def is_kvd(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object holds kernel distances."""
    return any(_kernel_spec(key) is not None for case in cases_of(content).values() for key in case)


def cases_of(content: Any) -> dict[str, Mapping[str, Any]]:
    """The cases of a golden file; {} when it has none."""
    cases = content.get("cases") if isinstance(content, Mapping) else None
    return {k: v for k, v in cases.items() if isinstance(v, Mapping)} if isinstance(cases, Mapping) else {}


def parameters_of(content: Any) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """{case: parameters of both sets} of the cases that state them."""
    cases = cases_of(content)
    return {
        name: (c["params_real"], c["params_fake"])
        for name, c in cases.items()
        if {"params_real", "params_fake"} <= set(c)
    }


@dataclass(frozen=True)
class Pair:
    """Two sets of features, as the rule made them (float32)."""

    real: Floats
    fake: Floats
    singular: bool  # whether a covariance has eigenvalues that are, or cannot be told from, 0
    ill: bool  # whether they span many decades

    @staticmethod
    def of(real: Mapping[str, Any], fake: Mapping[str, Any]) -> Pair:
        """The sets that these parameters make."""
        both = (real, fake)
        ill = any(side.get("decades", 0.0) > DECADES for side in both)
        return Pair(features(real), features(fake), any(_singular(side) for side in both), ill)

    @property
    def double(self) -> tuple[Array, Array]:
        """Both sets as float64."""
        return self.real.astype(np.float64), self.fake.astype(np.float64)


def _singular(p: Mapping[str, Any]) -> bool:
    flat = p.get("noise", 1.0) == 0 or p.get("nconst", 0) > 0 or p.get("decades", 0.0) > NO_RANK
    return bool(p["N"] <= p["D"] or flat)


# ---- FVD ----

FRECHET: dict[str, tuple[roots.Root, int, str]] = {  # key of the file: root, ddof, precision in which features come
    "styleganv": (roots.by_sqrtm, 0, "double"),
    "cdfvd.fd": (roots.by_sqrtm, 0, "double"),
    "scipy1.13_sqrtm.cdfvd_styleganv_cov_N.fd": (roots.by_sqrtm, 0, "double"),
    "scipy1.13_sqrtm.common_metrics_cov_Nminus1.fd": (roots.by_sqrtm, 1, "double"),
    "common_metrics_styleganv": (roots.by_sqrtm, 1, "double"),
    "common_metrics_styleganv_float32_input": (roots.by_sqrtm, 1, "single"),
    "pytorch_fid": (roots.by_sqrtm, 1, "double"),
    "torch_fidelity_float64_input": (roots.by_eigenvalues, 1, "double"),
    "torch_fidelity_float32_input": (roots.by_eigenvalues, 1, "single"),
    "torchmetrics_formula_float64": (roots.by_eigenvalues, 1, "double"),
    "torchmetrics_class_float64_input": (roots.by_eigenvalues, 1, "double"),
    "tfgan_float64_input": (roots.by_svd, 1, "double"),
    "tfgan_float32_input": (roots.by_svd, 1, "single"),
    "tats_lvdm_float64": (roots.by_svd, 1, "double"),
    "tats_lvdm_float32": (roots.by_float32_svd, 1, "single"),
    "common_metrics_videogpt_float32": (roots.by_float32_svd, 1, "single"),
}
REFERENCE = re.compile(r"reference_nuclear_norm_ddof([01])$")
REASONS = {
    "warnings": "words of another library",
    "imag": "how complex another library's root came out",
    "finite": "whether another library's root came out finite",
    "errest": "another library's own estimate of its error",
}


def check_frechet(content: Mapping[str, Any]) -> Answer:
    """Every value of every case."""
    for name, case in cases_of(content).items():
        if "params_real" not in case or "params_fake" not in case:
            yield Left(name, "its features are not described")
            continue
        pair = Pair.of(case["params_real"], case["params_fake"])
        yield from _check_features(name, pair, case)
        yield from _check_distances(name, pair, case)
    for key in sorted(content.keys() - {"cases"}):
        yield Left(key, "versions and words of other packages")


def _check_features(name: str, pair: Pair, case: Mapping[str, Any]) -> Answer:
    for side, rows in (("real", pair.real), ("fake", pair.fake)):
        if f"sha256_{side}" in case:
            digest = hashlib.sha256(rows.tobytes()).hexdigest()
            yield true(f"{name} sha256_{side}", digest == case[f"sha256_{side}"])
        want = case.get(f"{side}_first3")
        if want is not None:
            yield within(f"{name} {side}_first3", rows.reshape(-1)[: len(want)], want, 0.0)


def _check_distances(name: str, pair: Pair, case: Mapping[str, Any]) -> Answer:
    trace = float(sum(np.var(rows, axis=0, ddof=1, dtype=np.float64).sum() for rows in (pair.real, pair.fake)))
    done: dict[tuple[roots.Root, int, str], float] = {}
    for key, want in flat(case):
        if key.startswith(("params_", "sha256_")) or "_first3" in key:
            continue
        if (match := REFERENCE.match(key.split(".")[0])) is not None:
            yield from _check_reference(f"{name} {key}", key, pair, int(match[1]), want, trace)
        elif key == "eigh_clip_ddof1":
            first, second = (Statistics(rows.shape[1]).update(rows).gaussian() for rows in pair.double)
            yield within(f"{name} {key}", frechet_distance(first, second), want, _bound("eigh", pair, want, trace))
        elif key in FRECHET and is_number(want):
            spec = FRECHET[key]
            sets = pair.double if spec[2] == "double" else (pair.real, pair.fake)
            if spec not in done:
                done[spec] = spec[0](sets[0], sets[1], spec[1])
            bound = SINGLE * trace if spec[0] is roots.by_float32_svd else _bound(spec[2], pair, want, trace)
            yield within(f"{name} {key}", done[spec], want, bound)
        else:
            yield Left(f"{name} {key}", _reason(key))


def _bound(precision: str, pair: Pair, want: float, trace: float) -> float:
    """Of a distance that is not the stable one."""
    largest = max((ILL if pair.ill else EXACT) * abs(want), FLOOR * trace)
    if pair.singular:
        largest = max(largest, 2e-7 * trace, min(SINGULAR * trace, MOST))
    return max(largest, SINGLE_INPUT * abs(want)) if precision == "single" else largest


def _check_reference(label: str, key: str, pair: Pair, ddof: int, want: Any, trace: float) -> Answer:
    """The stable distance and its three terms."""
    x, y = pair.double
    if key.endswith(".fd"):
        yield within(label, frechet_from_features(x, y, ddof), want, max(EXACT * abs(want), FLOOR * trace))
        return
    first, second = (Statistics(rows.shape[1]).update(rows).gaussian(ddof) for rows in (x, y))
    mean_term = float(np.sum((first.mean - second.mean) ** 2))
    trace_sum = float(np.trace(first.cov) + np.trace(second.cov))
    terms = {"mean_term": mean_term, "trace_sum": trace_sum}
    what = key.rsplit(".", 1)[-1]
    if what == "trace_sqrt":  # what the distance lacks of the sum of the other terms, twice
        terms[what] = (mean_term + trace_sum - frechet_from_features(x, y, ddof)) / 2
    if what in terms:
        yield within(label, terms[what], want, max(EXACT * abs(want), FLOOR * trace))
    else:
        yield Left(label, "no value of that name is understood")


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of nested objects, their names joined with dots."""
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from flat(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _reason(key: str) -> str:
    return next((why for part, why in REASONS.items() if part in key), "no value of that name is understood")


def _known(case: Mapping[str, Any], keys: Mapping[str, Any]) -> bool:
    return any(key in keys or REFERENCE.match(key.split(".")[0]) for key, _ in flat(case))


# ---- KVD ----

Sets = tuple[Array, Array]  # real, fake
Kernel = Callable[[Sets], dict[str, float | None]]  # {name of a value: value}
THOUSAND = 1000.0  # NVIDIA's factor
PAPER = Polynomial(gamma=1.0)
GAMMAS = {"full_float64_gamma_1_over_d": kernel.CUBIC, "full_float64_gamma_1_fvd_paper_form": PAPER}
FULL = re.compile(r"(?:tats_lvdm_float(?P<bits>32|64)_sklearn|torchmetrics_poly_mmd_float(?P<other>32|64))$")
SUBSETS = re.compile(
    r"(?P<who>torch_fidelity|styleganv_kid_x1000|torchmetrics_class)_float(?P<bits>32|64)"
    r"_subsets(?P<subsets>\d+)_size(?P<size>\d+)_(?:rng|np|torch)seed(?P<seed>\d+)$"
)
BLOCKS = re.compile(
    r"tfgan_(?:block_rule_float(?P<bits>32|64)_block(?P<block>\d+)|library_block(?P<size>\d+)_float(?P<other>32|64))$"
)


def _kernel_spec(key: str) -> tuple[tuple[Any, ...], Kernel, bool] | None:
    """What a key of the file asks for: a name under which equal work is done once, the work, single precision?"""
    if key in GAMMAS:
        return ("full", key), partial(_full, GAMMAS[key]), False
    if (match := FULL.match(key)) is not None:
        if (match["bits"] or match["other"]) == "32":
            return ("full", "single"), _full_single, True
        return ("full", "full_float64_gamma_1_over_d"), partial(_full, kernel.CUBIC), False
    if (match := SUBSETS.match(key)) is not None:
        single = match["bits"] == "32"
        work = (match["who"], int(match["subsets"]), int(match["size"]), int(match["seed"]), single)
        return work, partial(_subsets, *work), single
    if (match := BLOCKS.match(key)) is not None:
        block, single = int(match["block"] or match["size"]), (match["bits"] or match["other"]) == "32"
        return ("blocks", block, single), partial(_blocks, block, single), single
    return None


def _full(polynomial: Polynomial, sets: Sets) -> dict[str, float | None]:
    names = ["unbiased", "biased"] + (["u_statistic"] if len(sets[0]) == len(sets[1]) else [])
    found: dict[str, float | None] = {name: kernel.kernel_distance(*sets, name, polynomial) for name in names}
    return found | {"": found["unbiased"]}


def _full_single(sets: Sets) -> dict[str, float | None]:
    return {"": averages.single_precision(*sets)}


def _subsets(who: str, subsets: int, size: int, seed: int, single: bool, sets: Sets) -> dict[str, float | None]:
    if who == "torchmetrics_class":
        parts = averages.torchmetrics_subsets(*sets, subsets, size, seed)
    else:
        rng, fake_first = np.random.RandomState(seed), who == "styleganv_kid_x1000"
        parts = averages.subset_distances(*sets, subsets, size, rng, fake_first=fake_first, single=single)
    found = Average(parts)
    return {"mean": found.mean, "std": found.deviation, "": found.mean * THOUSAND}


def _blocks(block: int, single: bool, sets: Sets) -> dict[str, float | None]:
    found = Average(averages.block_distances(*sets, block, single=single))
    return {"mean": found.mean, "n_blocks": len(found.parts), "stderr": found.error}


def check_kvd(content: Mapping[str, Any], beside: Beside) -> Answer:
    """Every value of every case."""
    known = dict(beside.features) | parameters_of(content)
    for name, case in cases_of(content).items():
        described = known.get(name) or usual_parameters(name)
        if described is None:
            yield true(f"{name}: some file describes its features", False)
            continue
        yield from _check_kernels(name, Pair.of(*described).double, case)
    for key in sorted(content.keys() - {"cases", "subset_seed"}):
        yield Left(key, "versions of other packages")


def _check_kernels(name: str, sets: Sets, case: Mapping[str, Any]) -> Answer:
    done: dict[tuple[Any, ...], dict[str, float | None]] = {}
    for key, entry in case.items():
        spec = _kernel_spec(key)
        if spec is None:
            if not key.startswith(("params_", "sha256_")) and "_first3" not in key:
                yield Left(f"{name} {key}", "no value of that name is understood")
            continue
        work, compute, single = spec
        values = entry if isinstance(entry, Mapping) else {"": entry}
        if any(is_number(want) for want in values.values()) and work not in done:
            done[work] = compute(sets)
        polynomial = GAMMAS.get(key, kernel.CUBIC)
        bound = (KERNEL_SINGLE if single else KERNEL_DOUBLE) * largest_mean(sets, polynomial)
        for what, want in values.items():
            label = f"{name} {key} {what}".rstrip()
            if want is None and done.get(work, {}).get(what, 0.0) is None:
                yield true(f"{label} is none", True)
            elif not is_number(want):
                yield Left(label, "the public code gives none")
            elif what not in done[work]:
                yield Left(label, "no value of that name is understood")
            else:
                got = done[work][what]
                got = float("nan") if got is None else got  # a value where ours has none is an error
                yield within(label, got, want, bound * (THOUSAND if "x1000" in key else 1.0))


def largest_mean(sets: Sets, polynomial: Polynomial) -> float:
    """The largest of the means of the three kernel matrices, which bounds the rounding of their difference."""
    sums = kernel.kernel_sums(*sets, polynomial)
    n, m = len(sets[0]), len(sets[1])
    within_x, within_y = (sums.x.sum() + sums.diagonal_x.sum()) / n**2, (sums.y.sum() + sums.diagonal_y.sum()) / m**2
    return float(max(abs(within_x), abs(within_y), abs(sums.x_to_y.sum()) / (n * m)))
