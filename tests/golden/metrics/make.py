"""Makes a set of reference values with the public packages, in an environment of their own (see README.md).

    python tests/golden/metrics/make.py OUT --seed N [--large] [--i3d FOLDER] [--only KIND ...]

FOLDER holds `pytorch_i3d.py` of piergiaj/pytorch-i3d and `i3dpt.py` of hassony2/kinetics_i3d_pytorch. Inputs and
weights come from `bench.verify_inputs`, values from the packages alone. `--large` takes the sizes in real use.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench.verify_inputs import GAIN, Origin, generator, sha256, shapes_of, weight, weights

PIPELINES = (
    "direct_bilinear",
    "shortside_crop_float",
    "shortside_crop_videogpt",
    "shortside_crop_cmvq_videogpt_trunc",
    "direct_trilinear_5d",
    "direct_bilinear_antialias",
)


def write(path: Path, content: Any) -> None:
    """JSON, one value a line."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# ---- preprocessing, as the public code words it ----


def pipeline(name: str, video: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, 224, 224)."""
    clips = torch.from_numpy(video).permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W)
    if name == "direct_trilinear_5d":
        x = clips.float() / 255 * 2 - 1
        return F.interpolate(x, (clips.shape[2], 224, 224), mode="trilinear", align_corners=False)
    return torch.stack([_clip(name, clip) for clip in clips])


def _clip(name: str, clip: torch.Tensor) -> torch.Tensor:
    frames = clip.permute(1, 0, 2, 3)  # (T, 3, H, W)
    if name.startswith("direct"):
        anti = name.endswith("antialias")
        x = F.interpolate(frames.float(), (224, 224), mode="bilinear", align_corners=False, antialias=anti)
        return (2 * x / 255 - 1).permute(1, 0, 2, 3)
    x = frames.float() / 255
    if name.endswith("trunc"):
        x = (x * 255).to(torch.uint8).float() / 255
    height, width = x.shape[-2:]
    scale = 224 / min(height, width)
    size = (224, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), 224)
    x = F.interpolate(x, size, mode="bilinear", align_corners=False)
    top, left = (x.shape[-2] - 224) // 2, (x.shape[-1] - 224) // 2
    return ((x[..., top : top + 224, left : left + 224] - 0.5) * 2).permute(1, 0, 2, 3)


# ---- I3D ----


def networks(folder: Path) -> dict[str, torch.nn.Module]:
    """The public networks, empty."""
    sys.path.insert(0, str(folder))
    first = importlib.import_module("pytorch_i3d").InceptionI3d(400)
    return {"piergiaj": first.eval(), "hassony2": importlib.import_module("i3dpt").I3D(400).eval()}


def filled(net: torch.nn.Module, gain: float, eps: float = 1e-3) -> torch.nn.Module:
    """The rule's weights under the network's own names."""
    net.load_state_dict(weights(shapes_of(net), gain=gain))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eps = eps
    return net


def make_i3d(out: Path, seed: int, large: bool, folder: Path) -> None:
    """Preprocessing, network, lengths, layers and key lists."""
    b, t = (2, 16) if large else (1, 9)
    videos = {
        "P_noise_80x48": (Origin("noise", seed + 1), (b, t, 80, 48)),
        "Q_tri_100x144": (Origin("tri", first=2), (b, t, 100, 144)),
        "R_mix_270x480": (Origin("mix", seed + 2, 1), (b, t, 270, 480)),
        "S_noise_224x224": (Origin("noise", seed + 3), (b, t, 224, 224)),
    }
    nets, arrays, inputs = networks(folder), {}, []
    for name, (origin, shape) in videos.items():
        video = origin.make(shape)
        first8 = [int(value) for value in video.reshape(-1)[:8]]
        inputs.append({"video": name, "shape": [*shape, 3], "sha256": sha256(video), "first8": first8})
        direct = pipeline("direct_bilinear", video)
        for one in PIPELINES if large or name[0] in "PQ" else PIPELINES[:2]:
            x = pipeline(one, video)
            flat = x.contiguous().numpy().reshape(-1)
            places = generator(seed + 9).integers(0, len(flat), 512 if large else 128)
            stats = flat.astype(np.float64)
            arrays[f"pre/{name}/{one}/samples{len(places)}"] = flat[places]
            arrays[f"pre/{name}/{one}/clip0_t3_every16"] = x[0, :, 3, ::16, ::16].numpy()
            arrays[f"pre/{name}/{one}/stats_mean_std_min_max"] = np.array(
                [stats.mean(), stats.std(), stats.min(), stats.max()]
            )
            gap = float((x - direct).abs().max())
            inputs.append(
                {"video": name, "pipeline": one, "identical_to": None, "max_abs_diff_to_direct_bilinear": gap}
            )
            if one in PIPELINES[:2] and (large or (name[0], one) in (("P", PIPELINES[0]), ("R", PIPELINES[1]))):
                tags = ("base", "gain") if name[0] == "P" else ("gain",)
                arrays |= {f"i3d/{name}/{one}/{k}": v for k, v in run_i3d(nets, x, tags).items()}
    np.savez_compressed(out / "i3d.npz", **arrays)
    write(out / "i3d_inputs.json", inputs)
    make_lengths(out, seed, nets, large)
    make_lists(out, nets)


@torch.no_grad()
def run_i3d(nets: dict[str, torch.nn.Module], x: torch.Tensor, tags: tuple[str, ...]) -> dict[str, np.ndarray]:
    found = {}
    for tag in tags:
        gain = GAIN if tag == "gain" else 1.0
        net = filled(nets["piergiaj"], gain)
        found[f"{tag}/piergiaj/features"] = net.extract_features(x).flatten(2).numpy()
        found[f"{tag}/piergiaj/logits_time"] = net(x).numpy()
        found[f"{tag}/piergiaj_eps1e-5/logits"] = filled(net, gain, 1e-5)(x).mean(2).numpy()
        net = filled(nets["hassony2"], gain)
        softmax, logits = net(x)
        found[f"{tag}/hassony2/logits"], found[f"{tag}/hassony2/softmax"] = logits.numpy(), softmax.numpy()
    return found


@torch.no_grad()
def make_lengths(out: Path, seed: int, nets: dict[str, torch.nn.Module], large: bool) -> None:
    lengths = (9, 11, 14, 16, 18, 25) if large else (9, 17)
    clip = Origin("mix", seed + 4).make((1, max(lengths), 224, 224))
    x = torch.from_numpy(clip).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    net = filled(nets["piergiaj"], GAIN)
    arrays: dict[str, Any] = {}
    words: dict[str, Any] = {"T8": "RuntimeError", "256x256/piergiaj": {"shape": [1, 400, 1, 2, 2]}}
    for length in lengths:
        logits = net(x[:, :, :length])
        arrays[f"T{length}/piergiaj_logits_time"] = logits.numpy()
        arrays[f"T{length}/logits_mean"] = logits.mean(2).numpy()
        words[f"T{length}"] = {"time_steps_out": logits.shape[2]}
    y = x[:, :, :16]
    for name in net.end_points:
        y = net._modules[name](y)
        flat = y.flatten()
        arrays[f"endpoint/{name}/samples64"] = flat.numpy()[
            generator(zlib.crc32(name.encode())).integers(0, len(flat), 64)
        ]
        arrays[f"endpoint/{name}/shape"] = np.array(y.shape)
        arrays[f"endpoint/{name}/mean_std"] = np.array([float(flat.double().mean()), float(flat.double().std())])
    np.savez_compressed(out / "i3d_lengths.npz", **arrays)
    write(out / "i3d_lengths.json", words)


def make_lists(out: Path, nets: dict[str, torch.nn.Module]) -> None:
    """Key lists, the map between them (by the order in which both networks are run), anchors of the weight rule."""
    rows = {}
    for layout, net in nets.items():
        shapes = shapes_of(net)
        ordered = [*(n for n in shapes if not n.startswith("logits.")), *(n for n in shapes if n.startswith("logits."))]
        rows[layout] = ordered
        kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in net.state_dict().items()}
        lines = [f"{n}\t{kinds[n]}\t{'x'.join(map(str, shapes[n])) or 'scalar'}" for n in shapes]
        (out / f"i3d_{layout}.tsv").write_text("\n".join(["name\tdtype\tshape", *lines]) + "\n", encoding="utf-8")
    pairs = ["\t".join(pair) for pair in zip(*rows.values(), strict=True)]
    (out / "i3d_map.tsv").write_text("\n".join(["\t".join(rows), *pairs]) + "\n", encoding="utf-8")
    lines = []
    for layout, net in nets.items():
        for name, shape in list(shapes_of(net).items())[100:112]:
            values = weight(name, shape).double().flatten()
            start = ",".join(repr(float(v)) for v in values[:4])
            lines.append(f"{layout}\t{name}\t{start}\t{float(values.sum())!r}")
    head = "layout\tkey\tfirst4\tsum_f64"
    (out / "weight_rule.tsv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def main() -> None:
    """Makes every kind, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--i3d", type=Path)
    parser.add_argument("--only", nargs="*", default=["i3d", "lpips", "dreamsim", "statistics"])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if "i3d" in asked.only:
        make_i3d(asked.out, asked.seed, asked.large, asked.i3d)
    if {"lpips", "dreamsim"} & set(asked.only):
        pictures = importlib.import_module("make_pictures")
        for kind in ("lpips", "dreamsim"):
            if kind in asked.only:
                getattr(pictures, f"make_{kind}")(asked.out, asked.seed, asked.large)
    if "statistics" in asked.only:
        importlib.import_module("make_statistics").make(asked.out, asked.seed, asked.large)


if __name__ == "__main__":
    main()
