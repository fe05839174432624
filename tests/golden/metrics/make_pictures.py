"""Reference values of LPIPS and DreamSim, by the packages lpips and dreamsim (with peft). Run by `make.py`."""

from __future__ import annotations

import json
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import lpips
import numpy as np
import torch
import torchvision
from PIL import Image

from bench.verify_inputs import Origin, sha256, shapes_of, weights

Pair = tuple[np.ndarray, np.ndarray]


def write(path: Path, content: Any) -> None:
    """JSON, one value a line."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def pictures(origins: tuple[Origin, Origin], height: int, width: int) -> Pair:
    """Two pictures (H, W, 3) uint8."""
    a, b = (origin.make((1, 1, height, width))[0, 0] for origin in origins)
    return a, b


def origins(seed: int) -> dict[str, tuple[Origin, Origin]]:
    """Which pictures a case has, by the first words of its name."""
    one, two = Origin("noise", seed + 21), Origin("noise", seed + 22)
    return {
        "noise": (one, two),
        "tri_vs_mix": (Origin("tri"), Origin("mix", seed + 23)),
        "tri": (Origin("tri"), Origin("tri", first=3)),
        "identical": (one, one),
    }


# ---- LPIPS ----


def make_lpips(out: Path, seed: int, large: bool) -> None:
    """Every trunk and version, several sizes."""
    sizes = {"noise": (64, 64), "tri": (96, 128), "tri_vs_mix": (224, 224), "identical": (64, 64)}
    if not large:
        sizes = {"noise": (40, 40), "tri": (48, 72), "tri_vs_mix": (64, 64), "identical": (40, 40)}
    names = {kind: f"{kind}{h}" if h == w else f"{kind}{h}x{w}" for kind, (h, w) in sizes.items()}
    content: dict[str, Any] = {"values": {}, "inputs_sha256": {}}
    for kind, name in names.items():
        pair = pictures(origins(seed)[kind], *sizes[kind])
        content["inputs_sha256"][name] = [sha256(picture) for picture in pair]
    for net, version in (("alex", "0.1"), ("alex", "0.0"), ("vgg", "0.1"), ("squeeze", "0.1"), ("squeeze", "0.0")):
        model = public_lpips(net, version)
        for kind, name in names.items():
            pair = pictures(origins(seed)[kind], *sizes[kind])
            content["values"][f"{net}/v{version}/{name}"] = lpips_values(model, pair)
    write(out / "lpips.json", content)


def public_lpips(net: str, version: str) -> torch.nn.Module:
    """The package's model, its trunk filled by the rule under torchvision's names."""
    build = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    trunk = getattr(torchvision.models, build)(weights=None).features
    shapes = {f"features.{name}": shape for name, shape in shapes_of(trunk).items()}
    trunk.load_state_dict({k.removeprefix("features."): v for k, v in weights(shapes).items()})
    heads = Path(lpips.__file__).parent / "weights" / f"v{version}" / f"{net}.pth"
    model = lpips.LPIPS(net=net, version=version, pretrained=False, pnet_rand=True, verbose=False)
    model.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False)
    for name, parameter in model.net.named_parameters():
        number = re.sub(r"^slice\d+\.", "", name)
        parameter.data = trunk.state_dict()[number].clone()
    return model.eval()


@torch.no_grad()
def lpips_values(model: torch.nn.Module, pair: Pair) -> dict[str, Any]:
    a, b = (torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1 for picture in pair)
    value, layers = model(a, b, retPerLayer=True)
    wide = float(model.double()(a.double(), b.double()))
    model.float()
    return {"lpips_f32": float(value), "lpips_f64": wide, "per_layer_f32": [float(layer) for layer in layers]}


# ---- DreamSim ----

SMALL = {"image": 224, "patch": 16, "width": 96, "depth": 12, "heads": 3}  # the package takes block 12 of 12
LARGE = {"image": 224, "patch": 16, "width": 768, "depth": 12, "heads": 12}


def make_dreamsim(out: Path, seed: int, large: bool) -> None:
    """Without the adapter, and with it as the package loads it; a picture of another size."""
    vit, config = (LARGE, {"r": 16, "lora_alpha": 8}) if large else (SMALL, {"r": 4, "lora_alpha": 6})
    config |= {"lora_dropout": 0.3, "bias": "none", "target_modules": ["qkv"]}
    content: dict[str, Any] = {"base": {}, "adapter_config_saved": config, "inputs_sha256": {}}
    content |= {"embed_size": vit["width"] + 2 * (vit["width"] * 2 // 3)}
    if not large:
        content["vit"] = vit
    with tempfile.TemporaryDirectory() as folder:
        plain, tuned, preprocess = public_dreamsim(Path(folder), vit, config)
        for name, kind in (("noise64", "noise"), ("tri", "tri"), ("tri_vs_mix", "tri_vs_mix")):
            pair = pictures(origins(seed)[kind], 224, 224)
            content["inputs_sha256"][name] = [sha256(picture) for picture in pair]
            content["base"][name] = dreamsim_values(plain, tuned, pair)
        pair = pictures((Origin("mix", 6102, 1), Origin("tri", first=1)), 90, 160)
        a, b = (preprocess(Image.fromarray(picture)) for picture in pair)
        with torch.no_grad():
            key = "D_90x160_mix_vs_tri_pil_bicubic_squash"
            content["resize_case"] = {key: float(tuned(a, b)), "shape": list(b.shape)}
        content["resize_case"] |= {"min": float(b.min()), "max": float(b.max())}
        content["resize_case"]["samples_every32"] = [float(v) for v in b[0, :, ::32, ::32].reshape(-1)]
    write(out / "dreamsim.json", content)


@torch.no_grad()
def dreamsim_values(plain: torch.nn.Module, tuned: torch.nn.Module, pair: Pair) -> dict[str, Any]:
    a, b = (torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 for picture in pair)
    embedding = plain.embed(a)
    return {
        "D_base_no_lora": float(plain(a, b)),
        "D_batched": float(plain(torch.cat([a, b]), torch.cat([b, a]))[0]),
        "embed_first8": [float(v) for v in embedding[0, :8]],
        "embed_mean": float(embedding.mean()),
        "embed_norm": float(embedding.norm()),
        "D_identical": float(plain(a, a)),
        "D_lora_via_dreamsim()": float(tuned(a, b)),
    }


def public_dreamsim(folder: Path, vit: dict[str, int], config: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The package's ensemble without and with the adapter, read from a checkpoint folder that is written first."""
    import dreamsim.model as package
    from dreamsim.feature_extraction import load_clip_as_dino, load_open_clip_as_dino
    from dreamsim.feature_extraction.vision_transformer import VisionTransformer

    build = partial(
        VisionTransformer, patch_size=vit["patch"], embed_dim=vit["width"], depth=vit["depth"], num_heads=vit["heads"]
    )

    def vit_base(patch_size: int = 16, eps: float = 1e-6) -> torch.nn.Module:
        return build(qkv_bias=True, norm_layer=partial(torch.nn.LayerNorm, eps=eps))

    def from_hub(*_a: Any, **_k: Any) -> torch.nn.Module:
        trunk = vit_base()
        trunk.load_state_dict(weights(shapes_of(trunk), "dino."))
        return trunk

    write_folder(folder, vit_base(), vit, config)
    with (
        mock.patch.object(torch.hub, "load", from_hub),
        mock.patch.object(load_clip_as_dino, "vit_base", vit_base),
        mock.patch.object(load_open_clip_as_dino, "vit_base", vit_base),
    ):
        arguments = package.dreamsim_args["model_config"]["ensemble"]
        plain = package.PerceptualModel(**arguments, device="cpu", load_dir=str(folder), normalize_embeds=True).eval()
        tuned, preprocess = package.dreamsim(pretrained=True, device="cpu", cache_dir=str(folder))
    return plain, tuned, preprocess


def write_folder(folder: Path, dino: torch.nn.Module, vit: dict[str, int], config: dict[str, Any]) -> None:
    """Files in the places and layouts that the package reads."""
    width, joint = vit["width"], vit["width"] * 2 // 3
    (folder / "checkpoints").mkdir()
    torch.save(weights(shapes_of(dino), "dino."), folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    head = {f"module.head.mlp.{n}.{kind}": torch.zeros(1) for n in (0, 2, 4) for kind in ("weight", "bias")}
    head["module.head.last_layer.weight"] = torch.zeros(1)
    torch.save({"student": head}, folder / "dino_vitb16_pretrain.pth")
    shapes = shapes_of(dino) | {"pos_drop.weight": (width,), "pos_drop.bias": (width,), "proj": (width, joint)}
    for name in ("clip", "open_clip"):
        torch.save({"state_dict": weights(shapes, f"{name}.")}, folder / f"{name}_vitb16_pretrain.pth.tar")
    adapter = {}
    for branch in range(3):
        for block in range(vit["depth"]):
            start = f"base_model.model.extractor_list.{branch}.model.blocks.{block}.attn.qkv.lora_"
            sides = {"A": (config["r"], width), "B": (3 * width, config["r"])}
            for side, shape in sides.items():
                drawn = weights({f"{start}{side}.default.weight": shape}, "lora.")
                adapter[f"{start}{side}.weight"] = 0.3 * next(iter(drawn.values()))
    (folder / "ensemble_lora").mkdir()
    torch.save(adapter, folder / "ensemble_lora" / "adapter_model.bin")
    write(folder / "ensemble_lora" / "adapter_config.json", config | {"peft_type": "LORA"})
