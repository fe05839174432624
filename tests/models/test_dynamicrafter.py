"""The trained model as a whole: its streams, its parameter groups, its parents."""

from dataclasses import replace

import pytest
import torch

from models import presets
from models.config import ModelConfig
from models.dynamicrafter import (
    GROUPS,
    DynamiCrafter,
    image_half,
    text_to_image,
    text_to_video,
    unet_config,
)

TINY = presets.tiny()


def batch(size: int = 1) -> tuple:
    g = torch.Generator().manual_seed(0)
    z, condition = (torch.randn(size, 4, frames, 8, 8, generator=g) for frames in (8, 1))
    text, image = (torch.randn(size, length, 64, generator=g) for length in (20, 17))
    return z, torch.full((size,), 500), text, image, condition, torch.full((size,), 3)


def awake(config: ModelConfig) -> DynamiCrafter:
    """A model whose zero-initialised layers are not zero, so that every stream reaches the output."""
    model = DynamiCrafter(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_uniform_(parameter)
    return model


@pytest.fixture(scope="module")
def full_256() -> DynamiCrafter:
    with torch.device("meta"):
        return DynamiCrafter(presets.dynamicrafter_256())


def test_groups_of_the_released_model_have_the_official_sizes(full_256):
    sizes = dict(full_256.named_parameters())
    counts = {g: sum(sizes[n].numel() for n in names) for g, names in full_256.parameter_groups().items()}
    assert counts == {
        "projector": 48_787_456,
        "image_stream": 25_559_040,
        "lambda": 16,
        "detail": 0,
        "conv_in": 320 * 8 * 9 + 320,
        "spatial": 865_922_244 + 2_050_560 - (320 * 8 * 9 + 320),
        "temporal": 278_431_616 + 266_891_520,
    }


@pytest.mark.parametrize("context", ["full", "global_token", "none"])
@pytest.mark.parametrize("detail", ["repeat", "first_and_last", "none"])
def test_every_parameter_is_in_exactly_one_group(context, detail):
    model = DynamiCrafter(replace(TINY, context=context, visual_detail_guidance=detail))
    groups = model.parameter_groups()
    assert tuple(groups) == GROUPS
    listed = [name for names in groups.values() for name in names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    assert model.unet.conv_in.in_channels == (4 if detail == "none" else 8)
    assert bool(groups["projector"]) == bool(groups["image_stream"]) == (context != "none")


@torch.no_grad()
def test_every_combination_of_streams_runs_and_none_is_silent():
    z, t, text, image, condition, fs = batch()
    for context in ("full", "global_token", "none"):
        for detail in ("repeat", "first_and_last", "none"):
            model = awake(replace(TINY, context=context, visual_detail_guidance=detail))
            streams = model.context(text, image)
            assert set(streams) == ({"text"} if context == "none" else {"text", "image"})
            out = model(z, t, streams, condition, fs)
            assert out.shape == z.shape
            moved = model(z, t, model.context(text, image + 1), condition, fs)
            assert torch.equal(out, moved) == (context == "none")
            moved = model(z, t, streams, condition + 1, fs)
            assert torch.equal(out, moved) == (detail == "none")


def test_image_scales_start_at_one():
    assert list(DynamiCrafter(TINY).image_scales().values()) == [1.0] * 7
    fixed = replace(TINY, unet=replace(TINY.unet, image_stream="fixed"))
    model = DynamiCrafter(fixed)
    assert list(model.image_scales().values()) == [1.0] * 7
    assert model.parameter_groups()["lambda"] == []
    assert DynamiCrafter(replace(TINY, context="none")).image_scales() == {}


def test_parents_nest_and_see_no_image():
    image, video, whole = (DynamiCrafter(c) for c in (text_to_image(TINY), text_to_video(TINY), TINY))
    names = [set(model.state_dict()) for model in (image, video, whole)]
    assert names[0] < names[1] < names[2]
    assert video.unet.conv_in.in_channels == 4
    assert image.parameter_groups()["temporal"] == []
    assert set(video.context(torch.zeros(1, 20, 64), torch.zeros(1, 17, 64))) == {"text"}


@torch.no_grad()
def test_the_image_half_takes_single_frames_and_the_same_projector():
    narrow = replace(TINY, unet=replace(TINY.unet, in_channels=4), visual_detail_guidance="none")
    model = DynamiCrafter(image_half(narrow))
    assert model.parameter_groups()["temporal"] == []
    assert [len(model.parameter_groups()[g]) for g in ("image_stream", "lambda", "conv_in")] == [14, 7, 2]
    z, t, text, image, condition, fs = batch()
    assert model(z[:, :, :1], t, model.context(text, image), condition, fs).shape == (1, 4, 1, 8, 8)


def test_context_without_a_stream_to_look_at_it_is_refused():
    blind = replace(TINY, unet=replace(TINY.unet, image_stream="none"))
    with pytest.raises(ValueError, match="image_stream is 'none', which never looks at it"):
        unet_config(blind)
