"""Other systems' ways of injecting the image: their shapes, where they start, what they see and what is trained."""

from dataclasses import replace

import pytest
import torch

from models import presets
from models.beside_text import BESIDE_TEXT, DetailTokens
from models.checkpoint import part_entries
from models.condition_encoder import ConditionEncoder
from models.config import ENCODED_DETAIL, TEXT_STREAM_ALONE, ModelConfig, SamplerConfig
from models.detail import DETAIL, detail
from models.dynamicrafter import DynamiCrafter, text_to_video
from models.guidance import guidance_of
from models.initialise import inherit
from models.pipeline import Conditions, guided_denoiser
from models.projector import TOKEN_CHOICE
from models.weights import load_module, save_module

TINY = presets.tiny()
WAYS = {"videocomposer": ("beside_text", "stc_encoder"), "i2vgen_xl": ("hierarchical", "first_frame")}
TOKENS = {"beside_text": 4, "hierarchical": 4 + 4}  # 8 x 8 latents: 2 x 2 detail tokens


def config_of(way: str) -> ModelConfig:
    context, kind = WAYS[way]
    unet = replace(TINY.unet, image_stream="none")
    return replace(TINY, unet=unet, context=context, visual_detail_guidance=kind)


def batch(size: int = 2) -> tuple:
    g = torch.Generator().manual_seed(0)
    z, condition = (torch.randn(size, 4, frames, 8, 8, generator=g) for frames in (8, 1))
    text, image = (torch.randn(size, length, 64, generator=g) for length in (20, 17))
    return z, torch.full((size,), 500), text, image, condition, torch.full((size,), 3)


def awake(model: DynamiCrafter) -> DynamiCrafter:
    """Layers that start at zero are not zero any more, so that everything reaches the output."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_uniform_(parameter)
    return model


def answer(model: DynamiCrafter, z, t, text, image, condition, fs):
    return model(z, t, model.context(text, image, condition), condition, fs)


def test_the_names_of_the_configuration_are_those_of_the_tables():
    assert set(TEXT_STREAM_ALONE) == {"none", *BESIDE_TEXT} and not set(TEXT_STREAM_ALONE) & set(TOKEN_CHOICE)
    assert set(ENCODED_DETAIL) == {kind for kind, part in DETAIL.items() if issubclass(part, ConditionEncoder)}


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_image_tokens_stand_behind_the_text_in_its_own_stream(way):
    model, (_, _, text, image, condition, _) = DynamiCrafter(config_of(way)), batch()
    streams = model.context(text, image, condition)
    assert set(streams) == {"text"}
    assert streams["text"].shape == (2, 20 + TOKENS[WAYS[way][0]], 64)
    assert torch.equal(streams["text"][:, :20], text)
    assert model.image_scales() == {} and model.unet.conv_in.in_channels == 8


@torch.no_grad()
@pytest.mark.parametrize("size, count", [((8, 8), 4), ((32, 32), 64), ((40, 64), 64), ((72, 128), 64), ((16, 40), 32)])
def test_details_are_a_token_for_every_four_by_four_sites_of_at_most_32(size, count):
    assert DetailTokens(1024)(torch.randn(1, 4, 1, *size)).shape == (1, count, 1024)


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_silent_and_the_class_token_alone_is_seen(way):
    model, (z, t, text, image, condition, fs) = awake(DynamiCrafter(config_of(way))), batch()
    base = answer(model, z, t, text, image, condition, fs)
    assert base.shape == z.shape
    classes, patches = image.clone(), image.clone()
    classes[:, 0] += 1
    patches[:, 1:] += 1
    assert not torch.equal(base, answer(model, z, t, text, classes, condition, fs))
    assert torch.equal(base, answer(model, z, t, text, patches, condition, fs))
    assert not torch.equal(base, answer(model, z, t, text, image, condition + 1, fs))
    moved = model.context(text, image, condition + 1)
    assert torch.equal(moved["text"], model.context(text, image, condition)["text"]) == (way == "videocomposer")


@torch.no_grad()
def test_the_stc_encoder_shows_one_image_and_the_first_frame_one_place_in_the_clip():
    condition = torch.randn(2, 4, 1, 8, 8)
    repeated = detail("stc_encoder").sequence(condition, 5)
    assert torch.equal(repeated, condition.expand(-1, -1, 5, -1, -1))
    placed = detail("first_frame").sequence(condition, 5)
    assert torch.equal(placed[:, :, 0], condition[:, :, 0])
    assert placed[:, :, 1:].amin(dim=(0, 1, 3, 4)).tolist() == [0.25, 0.5, 0.75, 1.0]
    assert torch.equal(placed[:, :, 1:].amin(dim=(0, 1, 3, 4)), placed[:, :, 1:].amax(dim=(0, 1, 3, 4)))
    assert torch.equal(detail("first_frame").sequence(condition, 1), condition)


@torch.no_grad()
@pytest.mark.parametrize("kind", ENCODED_DETAIL)
def test_the_temporal_layer_brings_frames_together_and_convolutions_sites(kind):
    part, sequence = detail(kind), torch.randn(1, 4, 5, 8, 8)
    other = sequence.clone()
    other[:, :, 2, 1, 1] += 1
    changed = (part.encode(other) - part.encode(sequence)).abs().amax(dim=(0, 1)) > 0  # (T, h, w)
    assert changed[:, 1, 1].all(), "a site of a frame reaches that site of every frame"
    assert changed[2, :5, :5].all() and not changed[:, 5:].any(), "and three sites around it, no more"


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_the_input_part_starts_as_if_it_were_not_there(way):
    """Stage iii begins exactly where stage ii ended."""
    narrow = DynamiCrafter(replace(config_of(way), visual_detail_guidance="none"))
    assert awake(narrow).parameter_groups()["detail"] == []
    whole = DynamiCrafter(config_of(way))
    new = inherit(whole, narrow.state_dict()).new
    assert new and all(name.startswith("detail.") for name in new)
    torch.testing.assert_close(answer(whole, *batch()), answer(narrow, *batch()), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_the_prior_is_whole_inside_and_without_the_image_tokens_answers_as_it_did(way):
    """One softmax over both is what is published: tokens weigh something from the start. Without them: the prior."""
    prior, model = awake(DynamiCrafter(text_to_video(TINY))), DynamiCrafter(config_of(way))
    new = inherit(model, prior.state_dict()).new
    assert {name.split(".")[0] for name in new} == {"projector", "detail"}
    z, t, text, image, condition, fs = batch()
    alone = model(z, t, {"text": text}, condition, fs)
    torch.testing.assert_close(alone, answer(prior, z, t, text, image, condition, fs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_reaches_every_new_parameter(way):
    model = awake(DynamiCrafter(config_of(way)))
    answer(model, *batch()).square().mean().backward()
    groups, parameters = model.parameter_groups(), dict(model.named_parameters())
    assert groups["projector"] and groups["detail"] and not groups["image_stream"] + groups["lambda"]
    silent = [n for n in groups["projector"] + groups["detail"] if not parameters[n].grad.abs().sum() > 0]
    assert [name for name in silent if "to_k" not in name and "to_q" not in name] == []
    if way == "i2vgen_xl":  # the STC encoder's frames are equal: who attends to whom makes no difference
        assert silent == []


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_the_branch_without_the_image_knows_its_latent_alone(way):
    """As in the full model, "without the image" means without CLIP's tokens; the latent stays."""
    model, (z, t, text, image, condition, fs) = awake(DynamiCrafter(config_of(way))), batch()
    guidance = guidance_of(SamplerConfig(guidance="two_scale", text_scale=2.0, image_scale=1.0))
    nothing = torch.zeros(1, 20, 64), torch.zeros(1, 17, 64)

    def denoised(scale_of_image: float, tokens: torch.Tensor) -> torch.Tensor:
        config = SamplerConfig(guidance="two_scale", text_scale=0.0, image_scale=scale_of_image)
        conditions = Conditions(condition, text, tokens, *nothing)
        return guided_denoiser(model, guidance_of(config), conditions, fs, 8)(z, t)

    assert len(guidance.branches) == 3
    assert torch.equal(denoised(0.0, image), denoised(0.0, image + 1))
    assert not torch.equal(denoised(1.0, image), denoised(1.0, image + 1))
    rows = [Conditions(*(x[i : i + 1] for x in (condition, text, image)), *nothing) for i in range(2)]
    alone = [guided_denoiser(model, guidance, row, fs[:1], 8) for row in rows]
    both = guided_denoiser(model, guidance, Conditions(condition, text, image, *nothing), fs, 8)(z, t)
    for i, one in enumerate(alone):
        assert torch.equal(one(z[i : i + 1], t[:1])[0], both[i]), "no bit depends on the clip beside it"


@pytest.mark.parametrize("way", WAYS)
def test_a_model_comes_back_from_its_file(way, tmp_path):
    model, other = awake(DynamiCrafter(config_of(way))), DynamiCrafter(config_of(way))
    save_module(model, tmp_path / "model.safetensors")
    load_module(other, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(answer(model, *batch()), answer(other, *batch()))


def test_a_context_that_reads_the_latent_says_so_when_there_is_none():
    with pytest.raises(ValueError, match="reads the condition latent; none was given"):
        DynamiCrafter(config_of("i2vgen_xl")).context(torch.zeros(1, 20, 64), torch.zeros(1, 17, 64))


@pytest.mark.parametrize("way", WAYS)
def test_no_official_checkpoint_has_these_parts(way):
    with torch.device("meta"):
        model = DynamiCrafter(config_of(way))
    with pytest.raises(ValueError, match=f"this model's context is '{WAYS[way][0]}'"):
        part_entries("model", model)


@torch.no_grad()
@pytest.mark.parametrize("kind", ENCODED_DETAIL)
def test_an_untrained_encoder_lets_the_latent_through_at_its_own_scale(kind):
    """PyTorch's default would leave less than a tenth: a short stage would hardly see the image."""
    torch.manual_seed(0)
    latents = torch.randn(32, 4, 1, 8, 8)
    spread = [(part := detail(kind)).encode(part.sequence(latents, 8))[:, :, 0].std(dim=0).mean() for _ in range(5)]
    assert 0.4 < torch.stack(spread).mean() < 1.6
