"""Official checkpoints in and out: every entry has one place, and what has none is named."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import (
    KEY_LISTS,
    Modules,
    OfficialState,
    check_official,
    expected_entries,
    fitting,
    is_official,
    key_list,
    load_official,
    load_released,
    official_state,
    open_official,
    problems,
    schedule_entries,
    to_official,
    unet_entries,
    unused_entries,
)
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, text_to_video
from models.encoders import ImageEncoder, TextEncoder
from models.schedule import Schedule
from models.tensor_files import save_state


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


def layout(name: str) -> ModelConfig:
    """The released layout `name` in miniature: its streams, detail and schedule, with the sizes of `tiny`."""
    full, small = getattr(presets, f"dynamicrafter_{name}")(), presets.tiny()
    return replace(
        small,
        unet=replace(small.unet, image_stream=full.unet.image_stream),
        visual_detail_guidance=full.visual_detail_guidance,
        diffusion=full.diffusion,
    )


@pytest.mark.parametrize("name", KEY_LISTS)
def test_every_released_layout_goes_there_and_back(name, tmp_path):
    torch.manual_seed(3)
    config = layout(name)
    parts = modules(config)
    for tensor in parameters(parts).values():
        tensor.copy_(torch.randn(tensor.shape))
    rest = {n: torch.randn(shape) for n, shape in unused_entries(parts).items()}
    first = to_official(parts, official_state(rest))
    with torch.device("meta"):
        outline = modules(config)
    assert problems({n: tuple(t.shape) for n, t in first.items()}, expected_entries(outline)) == []
    assert ("scale_arr" in first) == (name != "256")
    assert any(n.endswith(".alpha") for n in first) == (name == "256")
    save_file({n: t.contiguous().clone() for n, t in first.items()}, tmp_path / "it.safetensors")
    released = load_released(tmp_path / "it.safetensors", config)
    assert released.loaded.schedule_differs == ()
    second = to_official(released.whole, official_state(first))
    assert second.keys() == first.keys()
    assert all(torch.equal(second[n], first[n]) for n in first)


def test_parts_are_loaded_alone_but_the_whole_file_is_checked(source, official, tmp_path):
    path = tmp_path / "it.ckpt"
    torch.save({"state_dict": official}, path)
    released = load_released(path, presets.tiny(), ["autoencoder", "text_encoder"])
    assert list(released.modules) == ["autoencoder", "text_encoder"]
    for name, module in released.modules.items():
        assert not module.training
        want = getattr(source, name).state_dict()
        assert all(torch.equal(tensor, want[k]) for k, tensor in module.state_dict().items())
    with pytest.raises(KeyError):
        _ = released.whole
    shorter = {name: tensor for name, tensor in official.items() if name != "image_proj_model.latents"}
    torch.save({"state_dict": shorter}, path)
    with pytest.raises(ValueError, match=r"it\.ckpt does not fit, 1 entries:\n  missing image_proj_model\.latents"):
        load_released(path, presets.tiny(), ["autoencoder"])


def test_weights_are_loaded_in_the_type_asked_for(source, official, tmp_path):
    save_file({n: t.contiguous().clone() for n, t in official.items()}, tmp_path / "it.safetensors")
    parts = load_released(tmp_path / "it.safetensors", presets.tiny(), dtype=torch.bfloat16).whole
    assert {t.dtype for t in parameters(parts).values()} == {torch.bfloat16}
    assert torch.equal(parts.model.unet.conv_in.weight, source.model.unet.conv_in.weight.bfloat16())
    assert torch.get_default_dtype() == torch.float32


def test_entries_that_are_no_floats_are_refused(official):
    odd = {**official, "image_proj_model.latents": official["image_proj_model.latents"].to(torch.int8)}
    with pytest.raises(ValueError, match=r"image_proj_model\.latents has type torch\.int8, expected one of floating"):
        load_official(official_state(odd), modules(presets.tiny()))


def released_state(name: str) -> OfficialState:
    """A released checkpoint of which only the dynamic rescale has values."""
    base = getattr(presets, f"dynamicrafter_{name}")().diffusion.dynamic_rescale
    return OfficialState(key_list(name), lambda entry: torch.full((1400,), base or 0.0))


@pytest.mark.parametrize(
    ("name", "fits"),
    [("256", ["256"]), ("512", ["512", "512_interp"]), ("512_interp", ["512", "512_interp"]), ("1024", ["1024"])],
)
def test_which_released_size_a_checkpoint_is_of(name, fits):
    assert fitting(released_state(name)) == fits


def test_what_is_of_no_released_size(official):
    assert fitting(official_state(official)) == []
    assert is_official(official) and not is_official(["unet.conv_in.weight"])


def test_a_released_checkpoint_of_another_size_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("models.checkpoint.open_official", lambda path: released_state("1024"))
    with pytest.raises(ValueError, match="is a released checkpoint of size 1024: say so with --profile"):
        load_released(tmp_path / "it.ckpt", presets.dynamicrafter_256())


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


@pytest.mark.parametrize("name", KEY_LISTS)
def test_our_tables_are_the_stored_ones(name, golden):
    """Against what the official code stores, each value within 1e-6 of the table's largest."""
    size = name.removesuffix("_interp")
    stored = load_file(golden / "dynamicrafter" / f"f_schedule_{size}.safetensors")
    ours = schedule_entries(modules(layout(name)))
    assert set(ours) == set(stored) - {"lvlb_weights"} - {n for n in stored if n.startswith("ddim.")}
    for table in ours:
        torch.testing.assert_close(ours[table], stored[table], rtol=1e-6, atol=1e-6)


def test_tables_that_are_others_are_named_and_sampled_with(official, tmp_path):
    other = {**official, "alphas_cumprod": official["alphas_cumprod"] * (1 - 1e-5)}
    torch.save(other, tmp_path / "it.ckpt")
    released = load_released(tmp_path / "it.ckpt", presets.tiny(), ["autoencoder"])
    assert released.loaded.schedule_differs == ("alphas_cumprod",)
    assert torch.equal(released.schedule.alphas_cumprod.float(), other["alphas_cumprod"])
    table = released.schedule.ddim("uniform_trailing", 5, 0.0)
    assert table.alphas[0] == float(other["alphas_cumprod"][table.timesteps[0]])
    close = {**official, "alphas_cumprod": official["alphas_cumprod"] * (1 + 2e-7)}
    torch.save(close, tmp_path / "it.ckpt")
    released = load_released(tmp_path / "it.ckpt", presets.tiny(), ["autoencoder"])
    assert released.loaded.schedule_differs == ()
    assert torch.equal(released.schedule.alphas_cumprod, Schedule(presets.tiny().diffusion).alphas_cumprod)


def test_tables_in_half_precision_are_ours(official):
    half = {name: tensor.half() for name, tensor in official.items()}
    loaded = load_official(official_state(half), modules(presets.tiny()))
    assert loaded.schedule_differs == ()


def test_an_entry_under_both_names_is_refused(official):
    name = "model.diffusion_model.fps_embedding.0.bias"
    both = {**official, name.replace("fps_embedding", "framestride_embed"): official[name]}
    with pytest.raises(ValueError, match="there twice"):
        official_state(both)


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


MEASURE = """
import sys
from pathlib import Path
def peak():  # of this program alone: what getrusage says starts from what the parent process had
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
import torch
from tests.models.test_checkpoint import middle_sized, weight_bytes
from models.checkpoint import load_released
config = middle_sized()
wanted = weight_bytes(config)
before = peak()
parts = load_released(Path(sys.argv[1]), config, dtype=torch.float32)
print((peak() - before) / wanted)
"""


def middle_sized() -> ModelConfig:
    """A released layout of 1.6 GB: more than what Python and its libraries take, and than any single tensor."""
    base = presets.dynamicrafter_512()
    return replace(
        base,
        unet=replace(base.unet, model_channels=128, num_head_channels=32),
        projector=replace(base.projector, dim=256, heads=4),
        autoencoder=replace(base.autoencoder, channels=64),
        clip=replace(base.clip, vision_layers=3, text_layers=3),
    )


def weight_bytes(config: ModelConfig) -> int:
    with torch.device("meta"):
        parts = modules(config)
    return sum(tensor.nbytes for tensor in parameters(parts).values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
@pytest.mark.parametrize(("form", "dtype"), [("it.ckpt", torch.float32), ("it.safetensors", torch.float16)])
def test_loading_takes_the_memory_of_the_weights_once(form, dtype, tmp_path):
    config = middle_sized()
    assert weight_bytes(config) > 1.4e9
    with torch.device("meta"):
        shapes = expected_entries(modules(config))
    state = OfficialState(shapes, lambda n: torch.full(shapes[n], 0.01, dtype=dtype), dict.fromkeys(shapes, dtype))
    if form.endswith("ckpt"):
        torch.save({"state_dict": {name: state.get(name) for name in shapes}}, tmp_path / form)
    else:
        save_state(state, tmp_path / form, {})
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, str(tmp_path / form)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    (tmp_path / form).unlink()
    assert done.returncode == 0, done.stderr
    assert 0.95 < float(done.stdout) < 1.3
