"""Do LPIPS and DreamSim compute what their public packages computed?

Reads golden JSON: `values: {net/version/images: ...}` of LPIPS, `base` and `resize_case` of DreamSim; key lists of the
latter's transformers. Weights come from the rule under torchvision's and DreamSim's names; pictures from the rules of
`verify_inputs`. Source: `tests/golden/metrics/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch

from bench.metrics import dreamsim, lpips
from bench.metrics.batches import Pixels
from bench.metrics.dreamsim import DreamSim
from bench.metrics.lpips import Lpips
from bench.metrics.state_files import unfilled
from bench.metrics.vit import Clip, Dino, OpenClip, VitSize
from bench.verify_cases import Beside, Case, Left, is_number, true, within
from bench.verify_inputs import Origin, Shape, find_origin, shapes_of, weights
from models.weights import read_card

Answer = Iterator[Case | Left]
Pair = tuple[Pixels, Pixels]  # (1, H, W, 3) each

LPIPS_BOUND = 1e-6
DREAMSIM_BOUND = 2e-6
PIXEL_BOUND = 1e-6  # of 1: levels of 255, nothing between
LORA_SCALE = 0.3  # of the rule's values, for the adapter
USUAL = {  # pictures by the name of their case, unless a file says otherwise
    "noise": (Origin("noise", 6001), Origin("noise", 6002)),
    "tri_vs_mix": (Origin("tri"), Origin("mix", 6003)),
    "tri": (Origin("tri"), Origin("tri", first=3)),
    "identical": (Origin("noise", 6001), Origin("noise", 6001)),
}
RESIZED = (Origin("mix", 6102, 1), Origin("tri", first=1))
PLAIN_KEYS = ("D_base_no_lora", "D_batched", "embed_first8", "embed_mean", "embed_norm", "D_identical")
TUNED_KEYS = ("D_lora_via_dreamsim()", "D_lora_merged_by_hand")


# ---- pictures ----


def usual_origins(name: str) -> tuple[Origin, Origin] | None:
    """The pictures that a case of that name has unless its file says otherwise; None for another name."""
    return next((pair for start, pair in USUAL.items() if name.startswith(start)), None)


def size_of(name: str) -> tuple[int, int] | None:
    """Height and width at the end of a name: `tri96x128`, `noise64`; None when there is none."""
    match = re.search(r"(\d+)(?:x(\d+))?$", name)
    return None if match is None else (int(match[1]), int(match[2] or match[1]))


@lru_cache(maxsize=16)
def origins_by_hash(digests: tuple[str, str], shape: Shape, likely: tuple[int, ...]) -> tuple[Origin, Origin] | None:
    """The rules and seeds of two pictures with these hashes; None when one of them is not found."""
    found = [find_origin(shape, digest, likely=likely) for digest in digests]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def seeds_of(beside: Beside) -> tuple[int, ...]:
    """Seeds to try first."""
    usual = [origin.seed for pair in (*USUAL.values(), RESIZED) for origin in pair if origin.seed]
    return tuple(dict.fromkeys([*usual, *beside.seeds]))


def pictures(pair: tuple[Origin, Origin], height: int, width: int) -> Pair:
    """Both pictures, (1, H, W, 3) each."""
    a, b = (origin.make((1, 1, height, width))[0] for origin in pair)
    return a, b


# ---- LPIPS ----


def is_lpips(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object holds distances of LPIPS."""
    values = content.get("values")
    return isinstance(values, Mapping) and any(
        isinstance(value, Mapping) and any(key.startswith("lpips_f") for key in value) for value in values.values()
    )


def check_lpips(content: Mapping[str, Any], beside: Beside) -> Answer:
    """Every value of the file, the hashes of its pictures, and whose heads they are."""
    yield from _check_heads(content.get("heads", {}))
    digests = content.get("inputs_sha256", {})
    for name, pair in digests.items():
        yield true(f"inputs_sha256 {name}", lpips_origins(name, digests, beside) is not None and len(pair) == 2)
    for kind, keys in groupby(sorted(content["values"]), key=lambda key: key.rsplit("/", 1)[0]):
        yield from _check_lpips_net(kind, list(keys), content["values"], digests, beside)
    for key in sorted(content.keys() - {"values", "heads", "inputs_sha256"}):
        yield Left(key, "describes files and versions of other packages")


def _check_heads(heads: Mapping[str, Any]) -> Answer:
    """Shapes of the linear layers, and the hash of the file that ours were taken from."""
    card = read_card(lpips.HEADS)
    for name, entry in heads.items():
        version, _, net = name.removeprefix("v").partition("/")
        if net not in lpips.LAYERS or version not in lpips.VERSIONS:
            yield Left(f"heads {name}", "no trunk or version of that name")
            continue
        if "sha256" in entry:
            yield true(f"heads {name} sha256", card.get(f"sha256 of {name}.pth") == entry["sha256"])
        if "keys" in entry:
            ours = [list(head.shape) for head in Lpips(net, version).heads]
            yield true(f"heads {name} shapes", ours == list(entry["keys"].values()))
        if "bytes" in entry:
            yield Left(f"heads {name} bytes", "size of a file of another package")


def lpips_origins(name: str, digests: Mapping[str, Any], beside: Beside) -> tuple[Origin, Origin] | None:
    """The pictures of a case: by their hashes where the file has them, else the usual ones of that name."""
    size = size_of(name)
    if name not in digests or size is None:
        return usual_origins(name)
    return origins_by_hash(tuple(digests[name]), (1, 1, *size), seeds_of(beside))


def _check_lpips_net(
    kind: str, keys: list[str], values: Mapping[str, Any], digests: Mapping[str, Any], beside: Beside
) -> Answer:
    net, _, version = kind.partition("/v")
    if net not in lpips.LAYERS or version not in lpips.VERSIONS:
        yield Left(kind, "no trunk or version of that name")
        return
    model = filled_lpips(net, version)
    for key in keys:
        name = key.rsplit("/", 1)[1]
        origins, size = lpips_origins(name, digests, beside), size_of(name)
        if origins is None or size is None:
            yield true(f"{key}: some pictures of the rules fit", False)
        else:
            yield from _check_lpips_case(key, model, pictures(origins, *size), values[key])


@torch.no_grad()
def _check_lpips_case(key: str, model: Lpips, pair: Pair, want: Mapping[str, Any]) -> Answer:
    if "lpips_f32" in want:
        yield within(f"{key} lpips_f32", model.distance(*pair)[0], want["lpips_f32"], LPIPS_BOUND)
    if "per_layer_f32" in want:
        layers = model.per_layer(*(model.as_input(picture) for picture in pair))[0]
        yield within(f"{key} per_layer_f32", layers, want["per_layer_f32"], LPIPS_BOUND)
    if "lpips_f64" in want:
        wide = model.double()
        yield within(f"{key} lpips_f64", wide.distance(*pair)[0], want["lpips_f64"], LPIPS_BOUND)
        model.float()
    for other in sorted(want.keys() - {"lpips_f32", "lpips_f64", "per_layer_f32"}):
        yield Left(f"{key} {other}", "no value of that name is understood")


def filled_lpips(net: str, version: str) -> Lpips:
    """LPIPS in evaluation mode, its trunk filled by the rule under torchvision's names; one picture at a time."""
    model = Lpips(net, version, micro_batch=1)
    own = {f"features.{name}": shape for name, shape in shapes_of(model.features).items()}
    lpips.fill_lpips(model, weights(own), "the weight rule")
    return model.eval()


# ---- DreamSim ----


def is_dreamsim(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object holds distances of DreamSim."""
    base = content.get("base")
    cases = list(base.values()) if isinstance(base, Mapping) else []
    return any(isinstance(case, Mapping) and case.keys() & {*PLAIN_KEYS, *TUNED_KEYS} for case in cases)


def check_dreamsim(content: Mapping[str, Any], beside: Beside) -> Answer:
    """Distances and embeddings without the adapter, then with it merged; preprocessing of another size."""
    size = VitSize(**content.get("vit", {}))
    model = filled_dreamsim(size)
    base = {name: case for name, case in content.get("base", {}).items() if isinstance(case, Mapping)}
    digests = content.get("inputs_sha256", {})
    pairs = {name: find_pair(model, name, case, digests, beside) for name, case in base.items()}
    for name, case in base.items():
        yield from _check_plain(name, model, pairs[name], case)
    if "embed_size" in content:
        yield within("embed_size", sum(branch.width for branch in model.kinds), content["embed_size"], 0.0)
    config = content.get("adapter_config_saved")
    if isinstance(config, Mapping):
        yield from _check_adapter(model, config, content)
        for name, case in base.items():
            yield from _check_tuned(name, model, pairs[name], case)
        if "resize_case" in content:
            yield from _check_resized(model, content["resize_case"], beside)
    yield from _left_of_dreamsim(content)


def _left_of_dreamsim(content: Mapping[str, Any]) -> Answer:
    known = {"base", "resize_case", "adapter_config_saved", "embed_size", "vit", "inputs_sha256", "lora_scale"}
    for key in sorted(content.keys() - {*known, "adapter_n_modules", "adapter_keys_sample"}):
        yield Left(key, "describes versions, objects and outcomes of other packages")
    for name, case in content.get("base", {}).items():
        for key in sorted(case.keys() - {*PLAIN_KEYS, *TUNED_KEYS}):
            yield Left(f"{name} {key}", "no value of that name is understood")


def find_pair(model: DreamSim, name: str, case: Mapping[str, Any], digests: Mapping[str, Any], beside: Beside) -> Pair:
    """The pictures of a case, at the network's size: by hash, else those of the likely ones that give the distance."""
    side = model.side
    if name in digests:
        found = origins_by_hash(tuple(digests[name]), (1, 1, side, side), seeds_of(beside))
        if found is not None:
            return pictures(found, side, side)
    tried = (pictures(origins, side, side) for origins in likely_origins(name, beside))
    return nearest_pair(model, tried, case.get("D_base_no_lora"))


def likely_origins(name: str, beside: Beside) -> list[tuple[Origin, Origin]]:
    """The usual pictures of a case of that name, then those with seeds that a text in the folder names."""
    first, second = usual_origins(name) or USUAL["noise"]
    noises, mixes = beside.seeds_of("noise"), beside.seeds_of("mix")
    named = [(first, second)]
    if (first.kind, second.kind) == ("noise", "noise"):
        named += [(Origin("noise", a), Origin("noise", b)) for a, b in pairwise(noises)]
    if "mix" in (first.kind, second.kind):
        named += [tuple(replace(o, seed=seed) if o.kind == "mix" else o for o in (first, second)) for seed in mixes]  # type: ignore[misc]
    return list(dict.fromkeys(named))


def nearest_pair(model: DreamSim, pairs: Iterable[Pair], want: float | None) -> Pair:
    """The first pair whose distance is `want`; the first of all when none is, or nothing is wanted."""
    tried = []
    for pair in pairs:
        tried.append(pair)
        if want is None or abs(float(model.distance(*pair)[0]) - want) <= DREAMSIM_BOUND:
            return pair
    return tried[0]


def _check_plain(name: str, model: DreamSim, pair: Pair, case: Mapping[str, Any]) -> Answer:
    """What needs no adapter."""
    a, b = (model.embed(picture) for picture in pair)
    got = {
        "D_base_no_lora": dreamsim.embedding_distance(a, b)[0],
        "embed_mean": a.mean(),
        "embed_norm": np.linalg.norm(a),
        "D_identical": dreamsim.embedding_distance(a, a)[0],
    }
    for key in (k for k in got if k in case):
        yield within(f"{name} {key}", got[key], case[key], DREAMSIM_BOUND)
    if "D_batched" in case:
        both = model.embed(np.concatenate(pair))
        yield within(
            f"{name} D_batched", dreamsim.embedding_distance(both[0], both[1]), case["D_batched"], DREAMSIM_BOUND
        )
    if "embed_first8" in case:
        want = case["embed_first8"]
        yield within(f"{name} embed_first8", a[0, : len(want)], want, DREAMSIM_BOUND)


def _check_tuned(name: str, model: DreamSim, pair: Pair, case: Mapping[str, Any]) -> Answer:
    """What the adapter changes."""
    if any(key in case for key in TUNED_KEYS):
        got = model.distance(*pair)[0]
        for key in (k for k in TUNED_KEYS if k in case):
            yield within(f"{name} {key}", got, case[key], DREAMSIM_BOUND)


def _check_adapter(model: DreamSim, config: Mapping[str, Any], content: Mapping[str, Any]) -> Answer:
    """Merges the rule's adapter into `model`, and compares what the file says of it."""
    adapter = rule_adapter(model, config)
    merged = dreamsim.merge_adapter(model, config, adapter, "the weight rule")
    if is_number(content.get("adapter_n_modules")):
        yield within("adapter_n_modules", merged, content["adapter_n_modules"], 0.0)
    if is_number(content.get("lora_scale")):
        yield within("lora_scale", config["lora_alpha"] / config["r"], content["lora_scale"], 0.0)
    if "adapter_keys_sample" in content:
        stored = {name.replace(".default.", ".") for name in adapter}
        yield true("adapter_keys_sample", all(key in stored for key in content["adapter_keys_sample"]))


def rule_adapter(model: DreamSim, config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The adapter of the rule: A and B of every linear layer that the configuration targets."""
    rank, targets = config["r"], tuple(f".{name}.weight" for name in config.get("target_modules", ["qkv"]))
    shapes: dict[str, Shape] = {}
    for number, branch in enumerate(model.kinds):
        for name, tensor in branch.named_parameters():
            if name.endswith(targets) and tensor.ndim == 2:
                start = f"base_model.model.extractor_list.{number}.model.{name.removesuffix('.weight')}.lora_"
                shapes[f"{start}A.default.weight"] = (rank, tensor.shape[1])
                shapes[f"{start}B.default.weight"] = (tensor.shape[0], rank)
    return {name: LORA_SCALE * tensor for name, tensor in weights(shapes, "lora.").items()}


def filled_dreamsim(size: VitSize) -> DreamSim:
    """The ensemble in evaluation mode with the rule's weights, `<branch>.<name>`; one picture at a time."""
    joint = size.width * 2 // 3  # 512 of 768

    def build() -> DreamSim:
        branches = {"dino": Dino(size), "clip": Clip(size, joint), "open_clip": OpenClip(size, joint)}
        return DreamSim(branches, micro_batch=1)

    model = unfilled(build)
    for name, branch in model.branches.items():
        dreamsim.fill(branch, weights(shapes_of(branch), f"{name}."), "the weight rule")
    return model


def _check_resized(model: DreamSim, case: Mapping[str, Any], beside: Beside) -> Answer:
    """Pictures of another size, through the preprocessing."""
    for key in (k for k in case if k.startswith("D_")):
        size = re.search(r"(\d+)x(\d+)", key)
        if size is None:
            yield Left(f"resize_case {key}", "no size in its name")
            continue
        height, width = int(size[1]), int(size[2])
        named = (RESIZED, *((replace(RESIZED[0], seed=seed), RESIZED[1]) for seed in beside.seeds_of("mix")))
        pair = nearest_pair(model, (pictures(origins, height, width) for origins in named), case[key])
        yield within(f"resize_case {key}", model.distance(*pair)[0], case[key], DREAMSIM_BOUND)
        yield from _check_squashed(pair, model.side, case)


def _check_squashed(pair: Pair, side: int, case: Mapping[str, Any]) -> Answer:
    """What one of the two pictures looks like to the network, in [0, 1]; the file does not say which."""
    seen = [dreamsim.squash(picture, side).transpose(0, 3, 1, 2) / 255.0 for picture in pair]
    want = np.asarray(case.get("samples_every32", []))
    nearest = min(seen, key=lambda x: _gap(x[0, :, ::32, ::32].reshape(-1), want))
    if len(want):
        yield within("resize_case samples_every32", nearest[0, :, ::32, ::32].reshape(-1), want, PIXEL_BOUND)
    for key, got in (("min", nearest.min()), ("max", nearest.max()), ("shape", nearest.shape)):
        if key in case:
            yield within(f"resize_case {key}", got, case[key], PIXEL_BOUND)
    for key in sorted(
        k for k in case if k not in ("min", "max", "shape", "samples_every32") and not k.startswith("D_")
    ):
        yield Left(f"resize_case {key}", "no value of that name is understood")


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max()) if a.shape == b.shape and len(b) else 0.0


# ---- names ----

TRANSFORMERS = {"dino": Dino, "clip": Clip, "open_clip": OpenClip}


def transformer_keys(name: str) -> dict[str, Shape]:
    """{entry: shape} of a transformer's file."""
    with torch.device("meta"):
        return shapes_of(TRANSFORMERS[name]())


def check_keys(rows: list[list[str]]) -> Answer:
    """A key list `name shape` of a transformer; `proj` is a tensor of its own in public code and may be absent."""
    found = {row[0]: tuple(int(n) for n in row[1].split("x")) for row in rows}
    name = "clip" if "pos_drop.weight" in found else "dino"
    wanted = {key: shape for key, shape in transformer_keys(name).items() if key != "proj" or key in found}
    wrong = sum(found.get(key) != shape for key, shape in wanted.items()) + len(found.keys() - wanted.keys())
    yield within(f"{name} {len(found)} entries", wrong, 0.0, 0.0)
