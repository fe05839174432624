"""Starting points from other projects' files: what maps, what is new, what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Modules, key_list, official_state, to_official, unused_entries
from models.dynamicrafter import DynamiCrafter, text_to_image, text_to_video
from models.encoders import ClipPair, ImageEncoder, TextEncoder
from models.official_names import unet_entries
from models.parents import EMA, UNET, families, layout_of, open_parent, start_from, tell

TINY = presets.tiny()
FULL = presets.dynamicrafter_256()
TABLES = {"betas": torch.zeros(1000), "alphas_cumprod": torch.zeros(1000)}


def drawn(module: torch.nn.Module) -> dict[str, Tensor]:
    """A state dict whose every value is drawn."""
    return {name: torch.randn(tensor.shape) for name, tensor in module.state_dict().items()}


def official_unet(model: DynamiCrafter, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` of the model's U-Net under the names and in the shapes of the official code."""
    entries = unet_entries(model.unet)
    return {entries[k].name: state[f"unet.{k}"].reshape(entries[k].shape) for k in entries}


@pytest.fixture(scope="module")
def image_model() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return drawn(DynamiCrafter(text_to_image(TINY)))


@pytest.fixture(scope="module")
def video_model() -> dict[str, Tensor]:
    torch.manual_seed(2)
    return drawn(DynamiCrafter(text_to_video(TINY)))


def stable_diffusion(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layout of v2-1_512-ema-pruned: U-Net, autoencoder, text tower, tables, two leftovers of the averages."""
    unet = official_unet(DynamiCrafter(text_to_image(TINY)), state)
    vae, text = drawn(Autoencoder(TINY.autoencoder)), drawn(TextEncoder(TINY.clip))
    whole = {UNET + name: tensor for name, tensor in unet.items()}
    whole |= {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
    whole |= {f"cond_stage_model.{name}": tensor for name, tensor in text.items()}
    return whole | TABLES | {"model_ema.decay": torch.zeros(()), "model_ema.num_updates": torch.zeros(())}


def videocrafter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The layout of VideoCrafter's text-to-video models."""
    unet = official_unet(DynamiCrafter(text_to_video(TINY)), state)
    vae = drawn(Autoencoder(TINY.autoencoder))
    whole = {UNET + name: tensor for name, tensor in unet.items()}
    whole |= {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
    return whole | TABLES | {"scale_arr": torch.ones(1400)}


def kept(tensors: dict[str, Tensor], folder: Path, name: str = "model.ckpt") -> Path:
    """As Lightning stores it."""
    torch.save({"state_dict": tensors, "global_step": 5}, folder / name)
    return folder / name


def same(state, wanted: dict[str, Tensor]) -> bool:
    return set(state) == set(wanted) and all(torch.equal(state[name], wanted[name]) for name in wanted)


def released_unet() -> dict[str, tuple[int, ...]]:
    """The U-Net of the released 512 checkpoint without its image stream, as the official code lists it."""
    found = {n.removeprefix(UNET): shape for n, shape in key_list("512").items() if n.startswith(UNET)}
    found["input_blocks.0.0.weight"] = (320, 4, 3, 3)
    return {name: shape for name, shape in found.items() if "_ip." not in name}


def test_the_video_parent_has_the_released_layers_but_for_the_image_stream():
    with torch.device("meta"):
        entries = unet_entries(DynamiCrafter(text_to_video(FULL)).unet)
    assert {entry.name: entry.shape for entry in entries.values()} == released_unet()


def test_the_image_parent_is_what_is_left_without_time_numbered_anew():
    along_time = r"temopral_conv|^init_attn|^fps_embedding|^(in|out)put_blocks\.\d+\.2\.(?!conv)|^middle_block\.2\."
    wanted = {n: shape for n, shape in released_unet().items() if not re.search(along_time, n)}
    wanted = {re.sub(r"^middle_block\.3\.", "middle_block.2.", n): shape for n, shape in wanted.items()}
    wanted = {re.sub(r"^(output_blocks\.\d+)\.3\.conv", r"\1.2.conv", n): shape for n, shape in wanted.items()}
    with torch.device("meta"):
        unet = DynamiCrafter(text_to_image(FULL)).unet
    assert {entry.name: entry.shape for entry in unet_entries(unet).values()} == wanted
    assert len(wanted) == 686  # of Stable Diffusion 2's U-Net, as published
    assert sum(p.numel() for p in unet.parameters()) == 865_910_724
    for name, shape in {  # known from outside this project
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        "input_blocks.1.1.proj_in.weight": (320, 320),
        "middle_block.2.out_layers.3.weight": (1280, 1280, 3, 3),
        "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "output_blocks.5.2.conv.bias": (1280,),
        "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": (2560, 320),
        "out.2.weight": (4, 320, 3, 3),
    }.items():
        assert wanted[name] == shape


@pytest.mark.parametrize("form", ["model.ckpt", "model.safetensors"])
def test_stable_diffusion_is_the_image_parent(form, image_model, tmp_path):
    tensors = stable_diffusion(image_model)
    path = tmp_path / form
    if form.endswith("ckpt"):
        kept(tensors, tmp_path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    parent = open_parent(path, "t2i", TINY)
    assert (parent.layout, parent.new) == ("Stable Diffusion", ())
    assert same(parent.state, image_model)
    inside = len(Autoencoder(TINY.autoencoder).state_dict()), len(TextEncoder(TINY.clip).state_dict())
    told = sorted(families(parent.unused).split(", "))
    assert told == sorted(
        [f"first_stage_model {inside[0]}", f"cond_stage_model {inside[1]}", "betas", "alphas_cumprod", "model_ema 2"]
    )
    whole = DynamiCrafter(TINY)
    inherited = start_from(whole, parent)
    assert set(inherited.loaded) == set(image_model)
    assert inherited.unused == parent.unused
    state = whole.state_dict()
    assert torch.equal(state["unet.conv_in.weight"][:, :4], image_model["unet.conv_in.weight"])
    assert not state["unet.conv_in.weight"][:, 4:].any()
    assert torch.equal(
        state["unet.middle.spatial.linear_in.weight"], image_model["unet.middle.spatial.linear_in.weight"]
    )


def test_what_was_taken_is_new_and_is_unused_is_told(image_model, tmp_path):
    parent = open_parent(kept(stable_diffusion(image_model), tmp_path), "t2i", TINY)
    lines = tell(start_from(DynamiCrafter(TINY), parent))
    assert lines[0] == f"taken: {len(image_model)} tensors"
    assert {line.partition(":")[0] for line in lines[1:]} == {
        *("new, projector", "new, image_stream", "new, lambda", "new, temporal", "new, spatial", "unused"),
    }
    assert any("lambda 1" in line for line in lines)
    assert lines[-1].endswith("betas, alphas_cumprod, model_ema 2")


@torch.no_grad()
def test_a_video_model_out_of_an_image_model_starts_as_that(image_model, tmp_path):
    parent = open_parent(kept(stable_diffusion(image_model), tmp_path), "t2v", TINY)
    assert parent.new and all("temporal" in n or "rate_embedding" in n or ".initial." in n for n in parent.new)
    images, video = DynamiCrafter(text_to_image(TINY)).eval(), DynamiCrafter(text_to_video(TINY)).eval()
    start_from(images, parent)
    assert set(start_from(video, parent).new) == set(parent.new)
    z, t = torch.randn(1, 4, 3, 8, 8), torch.tensor([300])
    text = torch.randn(1, 20, TINY.unet.context_dim)
    one = [images(z[:, :, [n]], t, {"text": text}, z[:, :, :1]) for n in range(3)]
    error = video(z, t, {"text": text}, z[:, :, :1]) - torch.cat(one, dim=2)
    assert error.norm() < 1e-5 * torch.cat(one).norm()


def test_averages_are_taken_where_the_file_has_them(image_model, tmp_path):
    tensors = stable_diffusion({name: tensor + 1 for name, tensor in image_model.items()})
    unet = official_unet(DynamiCrafter(text_to_image(TINY)), image_model)
    averages = {EMA + f"diffusion_model.{name}".replace(".", ""): tensor for name, tensor in unet.items()}
    parent = open_parent(kept(tensors | averages, tmp_path), "t2i", TINY)
    assert same(parent.state, image_model)
    averages.popitem()
    with pytest.raises(ValueError, match=r"missing model_ema\.diffusion_model"):
        open_parent(kept(tensors | averages, tmp_path), "t2i", TINY)


def test_videocrafter_is_the_video_parent(video_model, tmp_path):
    path = kept(videocrafter(video_model), tmp_path)
    parent = open_parent(path, "t2v", TINY)
    assert (parent.layout, parent.new) == ("VideoCrafter text-to-video", ())
    assert same(parent.state, video_model)
    inherited = start_from(DynamiCrafter(TINY), parent)
    assert all(n.startswith("projector.") or ".streams.image." in n for n in inherited.new)
    with pytest.raises(ValueError, match="a video model is no image model"):
        open_parent(path, "t2i", TINY)


def test_a_kind_of_layer_may_be_absent_but_only_whole(video_model, tmp_path):
    tensors = videocrafter(video_model)
    without = {name: tensor for name, tensor in tensors.items() if "temopral_conv" not in name}
    parent = open_parent(kept(without, tmp_path), "t2v", TINY)
    assert parent.new and all("temporal_conv" in name for name in parent.new)
    old = {n.replace("fps_embedding", "framestride_embed"): t for n, t in tensors.items()}
    assert same(open_parent(kept(old, tmp_path), "t2v", TINY).state, video_model)
    del tensors[f"{UNET}fps_embedding.2.bias"]
    with pytest.raises(ValueError, match=r"as t2v: it does not fit, 1 entries:\n  missing fps_embedding\.2\.bias"):
        open_parent(kept(tensors, tmp_path), "t2v", TINY)


def test_every_entry_that_does_not_fit_is_listed(video_model, tmp_path):
    tensors = videocrafter(video_model)
    tensors[f"{UNET}init_attn.0.transformer_blocks.0.attn1.relative_position_k.embeddings_table"] = torch.zeros(33, 24)
    tensors["control_model.zero"] = torch.zeros(1)
    tensors[f"{UNET}out.2.bias"] = torch.zeros(5)
    with pytest.raises(ValueError) as error:
        open_parent(kept(tensors, tmp_path), "t2v", TINY)
    first, *rest = str(error.value).splitlines()
    assert "relative positions, which this network has not" in first
    assert [line.strip() for line in rest] == [
        "left over init_attn.0.transformer_blocks.0.attn1.relative_position_k.embeddings_table (33, 24)",
        "out.2.bias has shape (5,), expected (4,)",
        "left over control_model.zero (1,)",
    ]


def test_the_autoencoder_out_of_every_layout(image_model, video_model, tmp_path):
    for tensors in (stable_diffusion(image_model), videocrafter(video_model)):
        parent = open_parent(kept(tensors, tmp_path), "vae", TINY)
        wanted = {n.removeprefix("first_stage_model."): t for n, t in tensors.items() if n.startswith("first_stage")}
        assert same(parent.state, wanted)
        Autoencoder(TINY.autoencoder).load_state_dict(dict(parent.state), strict=True)
    alone = {**wanted, "loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.zeros(2)}
    parent = open_parent(kept(alone, tmp_path), "vae", TINY)
    assert same(parent.state, wanted) and parent.layout == "an autoencoder alone"
    assert parent.unused == ("loss.logvar", "loss.discriminator.main.0.weight")
    with pytest.raises(ValueError, match="left over extra"):
        open_parent(kept({**alone, "extra": torch.zeros(1)}, tmp_path), "vae", TINY)


def test_clip_out_of_its_own_file_and_out_of_a_released_checkpoint(image_model, tmp_path):
    pair = ClipPair(TINY.clip)
    own = {name.removeprefix("model."): tensor for name, tensor in pair.state_dict().items()}
    parent = open_parent(kept(own, tmp_path, "open_clip_pytorch_model.bin"), "clip", TINY)
    assert parent.layout == "OpenCLIP" and same(parent.state, dict(pair.state_dict()))
    text, image = TextEncoder(TINY.clip), ImageEncoder(TINY.clip)
    for encoder in (text, image):
        encoder.load_state_dict(encoder.weights_from(parent.state), strict=True)
    parts = Modules(DynamiCrafter(TINY), Autoencoder(TINY.autoencoder), text, image)
    rest = {n: own.get(re.sub(r"^\w+\.model\.", "", n), torch.zeros(s)) for n, s in unused_entries(parts).items()}
    released = to_official(parts, official_state(rest))
    parent = open_parent(kept(released, tmp_path), "clip", TINY)
    assert parent.layout == "DynamiCrafter" and same(parent.state, dict(pair.state_dict()))
    with pytest.raises(ValueError, match="image tower is not in it"):
        open_parent(kept(stable_diffusion(image_model), tmp_path), "clip", TINY)
    with pytest.raises(ValueError, match="it is DynamiCrafter; allowed are Stable Diffusion 2"):
        open_parent(kept(released, tmp_path), "t2v", TINY)


def test_own_files_pass_as_they_are(video_model, tmp_path):
    save_file(video_model, tmp_path / "t2v.safetensors")
    parent = open_parent(tmp_path / "t2v.safetensors", "t2v", TINY)
    assert parent.layout == "this project" and same(parent.state, video_model)
    with pytest.raises(ValueError, match="known: t2i, t2v, vae, clip"):
        open_parent(tmp_path / "t2v.safetensors", "t3v", TINY)
    assert layout_of({"a": 1}) == "unknown"


def test_half_precision_parents_are_cast_where_they_go(video_model, tmp_path):
    half = {name: tensor.half() for name, tensor in videocrafter(video_model).items()}
    model = DynamiCrafter(replace(TINY, context="none"))
    start_from(model, open_parent(kept(half, tmp_path), "t2v", TINY))
    weight = model.state_dict()["unet.conv_out.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, video_model["unet.conv_out.weight"].half().float())
