"""DreamSim: an embedding of three transformers, its adapter, its checkpoint folder; small transformers stand in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench.metrics import dreamsim
from bench.metrics.dreamsim import DreamSim, embedding_distance, load_dreamsim, merge_adapter
from bench.metrics.vit import Clip, Dino, OpenClip, Trunk, VitSize
from bench.verify_inputs import shapes_of, weights
from bench.verify_pic import filled_dreamsim, rule_adapter
from tests.bench.metrics.weight_files import Evil

SMALL = VitSize(image=32, patch=16, width=24, depth=2, heads=2)
JOINT = 16
CONFIG = {"r": 4, "lora_alpha": 6, "target_modules": ["qkv"], "bias": "none", "lora_dropout": 0.3}


def images(count: int, height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture
def small(monkeypatch) -> None:
    """Branches of the checkpoint folder are small."""
    builders = {"dino": Dino, "clip": lambda s: Clip(s, JOINT), "open_clip": lambda s: OpenClip(s, JOINT)}
    for name, build in builders.items():
        _, places, source = dreamsim.BRANCHES[name]
        monkeypatch.setitem(dreamsim.BRANCHES, name, (lambda build=build: build(SMALL), places, source))


@pytest.fixture
def folder(tmp_path, small) -> Path:
    """A whole checkpoint folder, and a file in it that D does not need."""
    model = filled_dreamsim(SMALL)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "ensemble_lora").mkdir()
    torch.save(model.branches["dino"].state_dict(), tmp_path / "checkpoints" / "dino_vitbase16_pretrain.pth")
    for name in ("clip", "open_clip"):
        torch.save({"state_dict": model.branches[name].state_dict()}, tmp_path / f"{name}_vitb16_pretrain.pth.tar")
    adapter = {name.replace(".default.", "."): tensor for name, tensor in rule_adapter(model, CONFIG).items()}
    save_file(adapter, tmp_path / "ensemble_lora" / "adapter_model.safetensors")
    (tmp_path / "ensemble_lora" / "adapter_config.json").write_text(json.dumps(CONFIG))
    return tmp_path


# ---- embedding and distance ----


def test_embeddings_are_unit_vectors_without_mean_and_d_is_one_minus_their_correlation():
    model = filled_dreamsim(SMALL)
    a, b = model.embed(images(3)), model.embed(images(3, seed=1))
    assert a.shape == (3, SMALL.width + 2 * JOINT) and a.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(a.mean(axis=1), 0, atol=1e-7)
    want = [1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(model.distance(images(3), images(3, seed=1)), want, atol=1e-6)
    np.testing.assert_allclose(model.distance(images(3), images(3)), 0, atol=1e-12)
    np.testing.assert_allclose(embedding_distance(a[:, None], np.stack([a, b], 1))[:, 1], want, atol=1e-6)


def test_the_pictures_are_squashed_by_pillow_and_nothing_else_is_done_to_them():
    picture = images(1, 50, 90)
    want = np.asarray(Image.fromarray(picture[0]).resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(dreamsim.squash(picture, 32)[0], want)
    np.testing.assert_array_equal(dreamsim.squash(want[None], 32)[0], want)
    assert dreamsim.squash(picture).shape == (1, 224, 224, 3)


def test_an_image_depends_on_itself_alone():
    model = filled_dreamsim(SMALL)
    model.micro_batch = 4
    whole = model.embed(images(7))
    np.testing.assert_array_equal(np.concatenate([model.embed(images(7)[:2]), model.embed(images(7)[2:])]), whole)


def test_the_branches_are_normalised_as_each_was_trained_and_joined_in_order():
    model = filled_dreamsim(SMALL)
    pixels = torch.from_numpy(dreamsim.squash(images(1), 32)).permute(0, 3, 1, 2).float() / 255
    parts = []
    for branch in model.kinds:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (branch.mean, branch.std))
        parts.append(branch((pixels - mean) / std))
    joined = torch.cat(parts, 1)
    centred = joined - joined.mean()
    np.testing.assert_allclose(model.embed(images(1)), (centred / centred.norm()).detach(), atol=1e-6)
    assert [part.shape[1] for part in parts] == [24, 16, 16]
    assert (
        model.kinds[0].mean == (0.485, 0.456, 0.406)
        and model.kinds[1].mean == model.kinds[2].mean != model.kinds[0].mean
    )


def test_attention_and_activations_by_hand():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 24)
    clip, other = Clip(SMALL, JOINT), OpenClip(SMALL, JOINT)
    attend = clip.blocks[0].attn
    q, k, v = (part.unflatten(2, (2, 12)).transpose(1, 2) for part in attend.qkv(x).split(24, 2))
    mixed = ((q @ k.transpose(2, 3)) / 12**0.5).softmax(3) @ v
    torch.testing.assert_close(attend(x), attend.proj(mixed.transpose(1, 2).flatten(2)), atol=1e-6, rtol=1e-5)
    assert clip.blocks[0].mlp.activation(x).equal(x * torch.sigmoid(1.702 * x))
    assert other.blocks[0].mlp.activation(x).equal(torch.nn.functional.gelu(x))
    assert (clip.norm.eps, other.blocks[1].norm2.eps, Dino(SMALL).norm.eps) == (1e-5, 1e-5, 1e-6)
    assert isinstance(clip.pos_drop, torch.nn.LayerNorm) and isinstance(Dino(SMALL).pos_drop, torch.nn.Identity)


def test_released_sizes():
    with torch.device("meta"):
        sizes = {name: len(build().state_dict()) for name, (build, _, _) in dreamsim.BRANCHES.items()}
        width = sum(build().width for build, _, _ in dreamsim.BRANCHES.values())
    assert sizes == {"dino": 150, "clip": 153, "open_clip": 153} and width == 1792


# ---- adapter ----


def test_an_adapter_adds_alpha_over_r_times_b_a():
    model = filled_dreamsim(SMALL)
    layer = model.kinds[2].blocks[1].attn.qkv
    before = layer.weight.clone()
    adapter = rule_adapter(model, CONFIG)
    start = "base_model.model.extractor_list.2.model.blocks.1.attn.qkv.lora_"
    a, b = adapter[f"{start}A.default.weight"], adapter[f"{start}B.default.weight"]
    assert merge_adapter(model, CONFIG, adapter, "x") == 6
    torch.testing.assert_close(layer.weight, before + 1.5 * (b @ a))
    x = torch.randn(3, 24)
    torch.testing.assert_close(layer(x), x @ before.T + layer.bias + 1.5 * (x @ a.T) @ b.T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"base_model.model.extractor_list.3.model.blocks.0.attn.qkv.lora_A.weight": torch.zeros(4, 24)},
            "no LoRA weight",
        ),
        ({"base_model.model.mlp.weight": torch.zeros(1)}, "has an entry base_model.model.mlp.weight"),
        (
            {"base_model.model.extractor_list.0.model.blocks.9.attn.qkv.lora_A.weight": torch.zeros(4, 24)},
            "no such linear",
        ),
        ({"base_model.model.extractor_list.0.model.norm.lora_A.weight": torch.zeros(4, 24)}, "no such linear"),
        (
            {"base_model.model.extractor_list.0.model.blocks.0.attn.proj.lora_A.weight": torch.zeros(4, 24)},
            "LoRA shapes",
        ),
        (
            {"base_model.model.extractor_list.0.model.blocks.0.attn.qkv.lora_A.default.weight": torch.zeros(9, 24)},
            "shapes",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_changes_nothing(change, words):
    model = filled_dreamsim(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        merge_adapter(model, CONFIG, rule_adapter(model, CONFIG) | change, "adapter.bin")
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": "all"}, "bias is 'all', not 'none'"),
        ({"use_dora": True}, "use_dora is True"),
        ({"rank_pattern": {"qkv": 8}}, "rank_pattern"),
        ({"r": "16"}, "no numbers r and lora_alpha"),
        ({"r": 0}, "r 0; wanted 1 or more"),
    ],
)
def test_adapters_that_are_more_than_lora_are_refused(folder, change, words):
    (folder / "ensemble_lora" / "adapter_config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(ValueError, match=words):
        load_dreamsim(folder)
    (folder / "ensemble_lora" / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        load_dreamsim(folder)


# ---- the folder ----


def test_the_folder_loads_with_the_adapter_merged(folder):
    want = filled_dreamsim(SMALL)
    merge_adapter(want, CONFIG, rule_adapter(want, CONFIG), "the rule")
    found = load_dreamsim(folder)
    assert isinstance(found, DreamSim) and not found.training
    want.micro_batch = found.micro_batch
    np.testing.assert_array_equal(found.embed(images(2)), want.embed(images(2)))
    lora = folder / "ensemble_lora"
    torch.save(rule_adapter(want, CONFIG), lora / "adapter_model.bin")  # as older versions of peft save it
    (lora / "adapter_model.safetensors").unlink()
    np.testing.assert_array_equal(load_dreamsim(folder).embed(images(2)), want.embed(images(2)))


@pytest.mark.parametrize(
    "gone",
    [
        "checkpoints/dino_vitbase16_pretrain.pth",
        "clip_vitb16_pretrain.pth.tar",
        "open_clip_vitb16_pretrain.pth.tar",
        "ensemble_lora/adapter_config.json",
        "ensemble_lora/adapter_model.safetensors",
    ],
)
def test_every_missing_file_is_named_with_where_it_is_from(folder, gone):
    (folder / gone).unlink()
    with pytest.raises(ValueError) as caught:
        load_dreamsim(folder)
    lines = str(caught.value).splitlines()
    assert "is not a whole checkpoint folder (nothing is downloaded here)" in lines[0]
    assert len(lines) == 2 and f"missing {gone}" in lines[1] and ": from " in lines[1]


def test_an_empty_folder_lacks_five_things(tmp_path):
    with pytest.raises(ValueError) as caught:
        load_dreamsim(tmp_path)
    assert len(str(caught.value).splitlines()) == 6


def test_a_branch_that_does_not_fit_is_listed_and_code_is_never_run(folder):
    path = folder / "clip_vitb16_pretrain.pth.tar"
    state = torch.load(path, weights_only=True)["state_dict"]
    del state["proj"]
    torch.save({"state_dict": state | {"head.weight": torch.zeros(2)}}, path)
    with pytest.raises(ValueError, match=r"2 entries:\n  missing proj \(24, 16\)\n  not understood head.weight"):
        load_dreamsim(folder)
    torch.save({"state_dict": state, "x": Evil(folder / "ran")}, path)
    with pytest.raises(ValueError, match="is never run"):
        load_dreamsim(folder)
    assert not (folder / "ran").exists()


def test_a_converted_file_is_the_same_model(folder, tmp_path):
    found = load_dreamsim(folder)
    save_file(found.state_dict(), tmp_path / "one.safetensors")
    again = load_dreamsim(tmp_path / "one.safetensors")
    np.testing.assert_array_equal(again.embed(images(2)), found.embed(images(2)))


def test_branches_are_trunks_with_the_names_of_the_rule():
    model = filled_dreamsim(SMALL)
    for name, branch in model.branches.items():
        assert isinstance(branch, Trunk)
        rule = weights(shapes_of(branch), f"{name}.")
        assert all(tensor.equal(rule[key]) for key, tensor in branch.state_dict().items())
