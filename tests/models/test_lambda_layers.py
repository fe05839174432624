"""Lambda is turned up or down in the two-end or the intermediate layers, and nowhere else."""

import pytest
import torch

from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter
from models.lambda_layers import lambda_groups, scale_lambda
from models.presets import dynamicrafter_256, dynamicrafter_512, tiny


@pytest.fixture
def model() -> DynamiCrafter:
    torch.manual_seed(0)
    made = DynamiCrafter(tiny()).eval()
    for parameter in made.parameters():
        if parameter.ndim > 1 and not parameter.any():  # zero at the start: what comes before would not be seen
            torch.nn.init.normal_(parameter, std=0.2)
    for place, layer in enumerate(made.unet.cross_attentions().values()):
        layer.streams["image"].alpha.data.fill_(0.1 * place - 0.3)
    return made


@torch.no_grad()
def answer(model: DynamiCrafter) -> torch.Tensor:
    config, rng = model.config, torch.Generator().manual_seed(1)
    z = torch.randn(2, 4, config.frames, 8, 8, generator=rng)
    text = torch.randn(2, 5, config.unet.context_dim, generator=rng)
    image = torch.randn(2, config.clip.image_tokens, config.clip.vision_width, generator=rng)
    return model(z, torch.tensor([500, 300]), model.context(text, image), z[:, :, :1])


def numbers(config: ModelConfig) -> dict[str, list[int]]:
    """Places, from 1, of the layers of each group."""
    with torch.device("meta"):
        unet = DynamiCrafter(config).unet
    names = list(unet.cross_attentions())
    return {group: [names.index(one) + 1 for one in some] for group, some in lambda_groups(unet).items()}


def test_the_ends_are_the_layers_at_full_resolution() -> None:
    assert numbers(dynamicrafter_256()) == {"ends": [1, 2, 14, 15, 16], "middle": [*range(3, 14)]}
    assert numbers(tiny()) == {"ends": [1, 6, 7], "middle": [2, 3, 4, 5]}


def test_factors_multiply_what_was_learned(model: DynamiCrafter) -> None:
    before, groups = model.image_scales(), lambda_groups(model.unet)
    assert scale_lambda(model, {"ends": 2.0, "middle": 0.5}) is model
    after = model.image_scales()
    assert after == {n: pytest.approx(v * (2.0 if n in groups["ends"] else 0.5)) for n, v in before.items()}


def test_a_factor_of_one_changes_no_bit_and_other_factors_change_the_answer(model: DynamiCrafter) -> None:
    before, kept = answer(model), {k: v.clone() for k, v in model.state_dict().items()}
    assert torch.equal(answer(scale_lambda(model, {"ends": 1.0, "middle": 1.0})), before)
    assert torch.equal(answer(scale_lambda(model, {})), before)
    assert not torch.allclose(answer(scale_lambda(model, {"middle": 2.0})), before)
    assert model.state_dict().keys() == kept.keys()
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())


def test_a_factor_of_nought_is_a_layer_without_the_stream(model: DynamiCrafter) -> None:
    names = lambda_groups(model.unet)["middle"]
    with torch.no_grad():
        scaled = answer(scale_lambda(model, {"middle": 0.0}))
        for name in names:
            model.unet.cross_attentions()[name].streams["image"].to_v.weight.zero_()
    assert torch.allclose(scaled, answer(scale_lambda(model, {"middle": 1.0})), atol=1e-5)
    assert not torch.allclose(scaled, answer(scale_lambda(model, {"ends": 2.0})), atol=1e-5)


def test_what_cannot_be_scaled_is_refused() -> None:
    with torch.device("meta"):
        fixed, learned = DynamiCrafter(dynamicrafter_512()), DynamiCrafter(tiny())
    with pytest.raises(ValueError, match="no learned lambda"):
        scale_lambda(fixed, {"ends": 0.5})
    with pytest.raises(ValueError, match="known: ends, middle"):
        scale_lambda(learned, {"outer": 0.5})
    with pytest.raises(ValueError, match="allowed: 0 or more"):
        scale_lambda(learned, {"ends": -1.0})
