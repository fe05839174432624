"""The counted operations: the formula is what torch counts on the built models, and what the authors' code needs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models import flops, presets
from models.autoencoder import Autoencoder
from models.config import ModelConfig
from models.dynamicrafter import GROUPS, DynamiCrafter, image_half
from models.encoders import ImageEncoder, TextEncoder

FULL = {
    name: getattr(presets, name)() for name in ("tiny", "dynamicrafter_256", "dynamicrafter_512", "dynamicrafter_1024")
}
OFFICIAL = {"dynamicrafter_256": 4.90e12, "dynamicrafter_512": 12.60e12, "dynamicrafter_1024": 52.34e12}
TINY = FULL["tiny"]
VARIANTS = {
    "full": TINY,
    "no_ctx": replace(TINY, context="none"),
    "no_vdg": replace(TINY, visual_detail_guidance="none"),
    "no_lambda": replace(TINY, unet=replace(TINY.unet, image_stream="fixed")),
    "global_ctx": replace(TINY, context="global_token"),
    "beside_text": replace(TINY, context="beside_text", visual_detail_guidance="stc_encoder"),
    "hierarchical": replace(TINY, context="hierarchical", visual_detail_guidance="first_frame"),
    "images": replace(image_half(TINY), frames=1, projector=replace(TINY.projector, frames=1)),
}


def meta(model: ModelConfig) -> tuple[DynamiCrafter, tuple[Any, ...]]:
    """The model and what it is given, nothing of it in memory."""
    with torch.device("meta"):
        built, f = DynamiCrafter(model).requires_grad_(False), model.autoencoder.downsampling
        latent = torch.zeros(1, 4, model.frames, model.height // f, model.width // f)
        text = torch.zeros(1, model.clip.text_length, model.clip.text_width)
        tokens = torch.zeros(1, model.clip.image_tokens, model.clip.vision_width)
        number = torch.zeros(1, dtype=torch.int64)
    return built, (latent, number, text, tokens, latent[:, :, :1])


def counted(work: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def answer(model: DynamiCrafter, given: tuple[Any, ...]) -> Tensor:
    latent, number, text, tokens, condition = given
    return model(latent, number, model.context(text, tokens, condition), condition, number)


LARGE = ("dynamicrafter_512", "dynamicrafter_1024")
SIZES = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in FULL]


@pytest.mark.parametrize("name", SIZES)
def test_a_forward_pass_is_what_torch_counts(name: str) -> None:
    model = FULL[name]
    built, given = meta(model)
    assert flops.model_parameters(model) == sum(_sizes(built).values())
    with torch.no_grad():
        whole = counted(lambda: answer(built, given))
    ours = flops.denoise_flops(model) + flops.context_flops(model)
    assert ours == pytest.approx(whole, rel=1e-9)
    assert flops.forward_flops(model) == pytest.approx(
        ours - sum(op.flops for op in flops.projector_ops(model)), rel=1e-12
    )


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_official_network_needs_as_many_but_for_text_keys_of_every_frame(name: str) -> None:
    """It repeats the text for each of 16 frames before keys and values are taken; that is all of the difference."""
    model = FULL[name]
    of_text = sum(op.flops for op in flops.unet_ops(model) if op.stream == "text")
    assert flops.forward_flops(model) + 15 * of_text == pytest.approx(OFFICIAL[name], rel=2e-3)


STAGE_I = ("projector", "image_stream", "lambda")
TRAINED: list[Any] = [("full", GROUPS), ("images", STAGE_I), ("no_ctx", ("spatial", "conv_in"))]
TRAINED += [pytest.param(name, GROUPS, marks=pytest.mark.slow) for name in VARIANTS if name not in ("full", "images")]
TRAINED += [pytest.param("hierarchical", STAGE_I, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "groups"), TRAINED)
def test_a_training_step_is_what_torch_counts(name: str, groups: tuple[str, ...]) -> None:
    model = VARIANTS[name]
    built, given = meta(model)
    trained = {n for group in groups for n in built.parameter_groups()[group]}
    for parameter_name, parameter in built.named_parameters():
        parameter.requires_grad_(parameter_name in trained)
    whole = counted(lambda: answer(built, given).sum().backward())
    assert flops.training_flops(model, groups) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_built_model(name: str) -> None:
    model = VARIANTS[name]
    built, _ = meta(model)
    groups = {group: sum(_sizes(built)[n] for n in names) for group, names in built.parameter_groups().items()}
    assert flops.model_parameters(model) == sum(groups.values())
    assert {group: flops.trained_parameters(model, [group]) for group in GROUPS} == groups


def _sizes(model: nn.Module) -> dict[str, int]:
    return {name: parameter.numel() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", SIZES)
def test_the_autoencoder_is_what_torch_counts(name: str) -> None:
    model = FULL[name]
    config, f = model.autoencoder, model.autoencoder.downsampling
    with torch.device("meta"), torch.no_grad():
        built = Autoencoder(config).requires_grad_(False)
        frame = torch.zeros(1, 3, 1, model.height, model.width)
        latent = torch.zeros(1, 4, 1, model.height // f, model.width // f)
        assert flops.encoding_flops(config, model.height, model.width) == pytest.approx(
            counted(lambda: built.encode(frame)), rel=1e-9
        )
        assert flops.decoding_flops(config, model.height, model.width) == pytest.approx(
            counted(lambda: built.decode(latent)), rel=1e-9
        )


@pytest.mark.parametrize("name", ["tiny", "dynamicrafter_256"])
def test_the_towers_are_what_torch_counts(name: str) -> None:
    config = FULL[name].clip
    with torch.device("meta"):
        image = ImageEncoder(config).model.visual.requires_grad_(False)
        text = TextEncoder(config).requires_grad_(False)
        tokens = torch.zeros(1, config.image_tokens, config.vision_width)
        ids = torch.zeros(1, config.text_length, dtype=torch.int64)
        patches = torch.zeros(1, 3, config.image_size, config.image_size)
        of_image = counted(lambda: image.transformer(tokens)) + counted(lambda: image.conv1(patches))
        assert flops.image_tower_flops(config) == pytest.approx(of_image, rel=1e-9)
        assert flops.text_tower_flops(config) == pytest.approx(counted(lambda: text(ids)), rel=1e-9)
