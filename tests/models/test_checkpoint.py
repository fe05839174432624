"""Official checkpoints in and out: every entry has one place, and what has none is named."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import (
    KEY_LISTS,
    Modules,
    check_official,
    expected_entries,
    key_list,
    load_official,
    official_state,
    open_official,
    problems,
    to_official,
    unet_entries,
    unused_entries,
)
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, text_to_video
from models.encoders import ImageEncoder, TextEncoder


def modules(config: ModelConfig) -> Modules:
    return Modules(
        DynamiCrafter(config),
        Autoencoder(config.autoencoder),
        TextEncoder(config.clip),
        ImageEncoder(config.clip),
    )


def parameters(parts: Modules) -> dict[str, Tensor]:
    own = (parts.model, parts.autoencoder, parts.text_encoder, parts.image_encoder)
    return {f"{n}.{k}": v for n, part in enumerate(own) for k, v in part.state_dict().items()}


@pytest.fixture(scope="module")
def source() -> Modules:
    """Tiny modules, every value drawn: nothing is left at an initial 0 or 1."""
    torch.manual_seed(0)
    parts = modules(presets.tiny())
    for tensor in parameters(parts).values():
        tensor.copy_(torch.randn(tensor.shape))
    return parts


@pytest.fixture(scope="module")
def official(source: Modules) -> dict[str, Tensor]:
    """The checkpoint of `source` under official names."""
    rest = {name: torch.randn(shape) for name, shape in unused_entries(source).items()}
    return to_official(source, official_state(rest))


@pytest.mark.parametrize("name", KEY_LISTS)
def test_entries_are_exactly_those_of_the_released_checkpoint(name):
    with torch.device("meta"):
        parts = modules(getattr(presets, f"dynamicrafter_{name}")())
    assert problems(key_list(name), expected_entries(parts)) == []


def test_key_lists_have_the_official_counts():
    lists = {name: key_list(name) for name in KEY_LISTS}
    assert {name: len(keys) for name, keys in lists.items()} == {
        "256": 2535,
        "512": 2520,
        "1024": 2520,
        "512_interp": 2520,
    }
    unet = [n for n in lists["256"] if n.startswith("model.diffusion_model.")]
    assert len(unet) == 1532
    with pytest.raises(ValueError, match="no key list '128'; known: 256"):
        key_list("128")


def test_names_by_hand():
    with torch.device("meta"):
        model = DynamiCrafter(presets.dynamicrafter_256())
    entries = unet_entries(model.unet)
    block = "input_blocks.1.1.transformer_blocks.0."
    assert entries["down.0.spatial.blocks.0.cross_attention.streams.image.to_k.weight"] == (
        block + "attn2.to_k_ip.weight",
        (320, 1024),
    )
    assert entries["down.0.spatial.blocks.0.feed_forward.linear_in.bias"].name == block + "ff.net.0.proj.bias"
    assert entries["initial.temporal.linear_in.weight"] == ("init_attn.0.proj_in.weight", (512, 320, 1))
    assert entries["middle.temporal_conv_out.steps.3.conv.weight"] == (
        "middle_block.3.temopral_conv.conv4.3.weight",
        (1280, 1280, 3, 1, 1),
    )
    assert entries["up.2.upsample.conv.weight"].name == "output_blocks.2.1.conv.weight"
    assert entries["up.5.upsample.conv.weight"].name == "output_blocks.5.3.conv.weight"
    assert entries["down.2.downsample.conv.bias"].name == "input_blocks.3.0.op.bias"


def test_there_and_back_is_bit_for_bit(source, official):
    copy = modules(presets.tiny())
    loaded = load_official(official_state(official), copy)
    theirs, ours = parameters(source), parameters(copy)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.schedule_differs == ()
    assert set(loaded.unused) == set(unused_entries(copy))
    again = to_official(copy, official_state(official))
    assert again.keys() == official.keys()
    assert all(torch.equal(again[name], official[name]) for name in official)


def files(official: dict[str, Tensor], folder: Path) -> dict[str, Path]:
    """The same checkpoint in every form that is around."""
    old = {name.replace("fps_embedding", "framestride_embed"): t for name, t in official.items()}
    forms = {
        "plain.ckpt": official,
        "nested.ckpt": {"state_dict": official, "epoch": 3, "pytorch-lightning_version": "1.9.3"},
        "deepspeed.pt": {"module": {"_forward_module." + name: t for name, t in official.items()}},
        "old_names.ckpt": {"state_dict": old},
    }
    for name, content in forms.items():
        torch.save(content, folder / name)
    save_file({name: t.contiguous().clone() for name, t in official.items()}, folder / "it.safetensors")
    save_file({name: t.contiguous().clone() for name, t in old.items()}, folder / "old.safetensors")
    return {path.name: path for path in folder.iterdir()}


def test_every_kind_of_file_loads(source, official, tmp_path):
    want = parameters(source)
    for name, path in files(official, tmp_path).items():
        copy = modules(presets.tiny())
        load_official(open_official(path), copy)
        got = parameters(copy)
        assert all(torch.equal(got[k], want[k]) for k in want), name


def test_half_precision_weights_are_cast(source, official):
    copy = modules(presets.tiny())
    load_official(official_state({name: t.half() for name, t in official.items()}), copy)
    weight = copy.model.unet.conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, source.model.unet.conv_in.weight.half().float())


def test_missing_left_over_and_misshapen_entries_are_all_named_and_nothing_changes(official):
    broken = dict(official)
    del broken["model.diffusion_model.out.2.bias"]
    broken["model.diffusion_model.extra"] = torch.zeros(3)
    broken["betas"] = torch.zeros(7)
    copy = modules(presets.tiny())
    before = {name: tensor.clone() for name, tensor in parameters(copy).items()}
    with pytest.raises(ValueError) as error:
        load_official(official_state(broken), copy)
    assert str(error.value).splitlines() == [
        "the checkpoint does not fit, 3 entries:",
        "  missing model.diffusion_model.out.2.bias (4,)",
        "  left over model.diffusion_model.extra (3,)",
        "  betas has shape (7,), expected (1000,)",
    ]
    assert all(torch.equal(before[name], tensor) for name, tensor in parameters(copy).items())


def test_another_schedule_is_reported(official):
    other = {**official, "betas": official["betas"] * 2}
    loaded = load_official(official_state(other), modules(presets.tiny()))
    assert loaded.schedule_differs == ("betas",)
    assert torch.equal(loaded.schedule["betas"], other["betas"])


def test_an_entry_under_both_names_is_refused(official):
    name = "model.diffusion_model.fps_embedding.0.bias"
    both = {**official, name.replace("fps_embedding", "framestride_embed"): official[name]}
    with pytest.raises(ValueError, match="there twice"):
        official_state(both)


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('a file was executed')",))


def test_a_file_that_wants_to_run_code_is_refused(tmp_path):
    torch.save({"state_dict": {}, "callbacks": Bomb()}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as tensors alone"):
            open_official(tmp_path / name)


@pytest.mark.parametrize("name", ["cut.ckpt", "cut.safetensors", "absent.ckpt", "absent.safetensors"])
def test_a_damaged_or_absent_file_is_named(name, official, tmp_path):
    if name.startswith("cut"):
        whole = files(official, tmp_path)["it.safetensors" if name.endswith("s") else "plain.ckpt"]
        (tmp_path / name).write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ValueError, match=name):
        open_official(tmp_path / name)


def test_a_file_that_is_no_state_dict_is_named(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match=r"list\.ckpt is not a state dict"):
        open_official(tmp_path / "list.ckpt")


def test_checking_needs_no_model():
    shapes = key_list("256")
    state = official_state({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert check_official(state) == []
    short = {name: torch.empty(s, device="meta") for name, s in shapes.items() if not name.endswith("betas")}
    assert check_official(official_state(short)) == ["missing betas (1000,)"]


def test_a_model_without_a_projector_has_no_official_form():
    with pytest.raises(ValueError, match="context is 'none'"):
        expected_entries(modules(text_to_video(presets.tiny())))


def test_exporting_needs_the_entries_that_nothing_here_has(source):
    with pytest.raises(ValueError, match=r"missing embedder\.model\.visual\.proj"):
        to_official(source, official_state({}))
