"""The context projector against the official code's numbers, and what each token choice sees."""

import pytest
import torch

from bench.verify_unet import check_projector, filled_projector
from models.config import ProjectorConfig
from models.projector import ContextProjector, NoContext, projector

CONFIG = ProjectorConfig(
    dim=16, depth=2, head_channels=4, heads=2, tokens_per_frame=3, frames=4, embedding_dim=10, output_dim=12
)


def test_projector_equals_the_official_code(golden):
    cases = list(check_projector(golden / "dynamicrafter" / "c_resampler.safetensors"))
    assert [case.name for case in cases] == ["full", "small", "small_novl"]
    assert [case for case in cases if not case.ok] == []


@torch.no_grad()
def test_tokens_are_so_many_per_frame():
    tokens = torch.randn(2, 7, 10)
    assert ContextProjector(CONFIG)(tokens).shape == (2, 4 * 3, 12)
    whole_clip = ProjectorConfig(**{**CONFIG.__dict__, "frames": None})
    assert ContextProjector(whole_clip)(tokens).shape == (2, 3, 12)


@torch.no_grad()
@pytest.mark.parametrize("choice, sees", [("full", True), ("global_token", False)])
def test_only_the_full_projector_sees_the_patches(choice, sees):
    net = filled_projector(CONFIG)
    chosen = ContextProjector(CONFIG, choice)
    chosen.load_state_dict(net.state_dict())
    tokens = torch.randn(2, 7, 10)
    patches, class_token = tokens.clone(), tokens.clone()
    patches[:, 1:] += 1
    class_token[:, 0] += 1
    assert torch.equal(chosen(tokens), chosen(patches)) != sees
    assert not torch.equal(chosen(tokens), chosen(class_token))


@torch.no_grad()
def test_the_order_of_image_tokens_does_not_matter():
    net = filled_projector(CONFIG)
    tokens = torch.randn(2, 7, 10)
    torch.testing.assert_close(net(tokens), net(tokens.flip(1)), rtol=1e-4, atol=1e-5)


def test_none_is_a_part_too():
    part = projector(CONFIG, "none")
    assert isinstance(part, NoContext)
    assert part.streams(torch.randn(2, 7, 10)) == {}
    assert list(part.parameters()) == []


def test_an_unknown_choice_is_named():
    with pytest.raises(ValueError, match="context is 'ful'; known: none, full, global_token"):
        projector(CONFIG, "ful")
    with pytest.raises(ValueError, match="tokens is 'none'; known: full, global_token"):
        ContextProjector(CONFIG, "none")
