"""Guidance: which branches there are, and their arithmetic by hand."""

import pytest
import torch

from models.config import SamplerConfig
from models.guidance import COND, IMAGE_ONLY, UNCOND, guidance_of, rescale_guidance

C, U, IMAGE = (torch.full((1, 2, 2, 2, 2), v) for v in (5.0, 1.0, 2.0))  # condition, nothing, image alone


def test_the_branches_of_every_kind():
    kinds = {kind: guidance_of(SamplerConfig(guidance=kind)).branches for kind in ("none", "single", "two_scale")}
    assert kinds == {"none": (COND,), "single": (COND, UNCOND), "two_scale": (COND, UNCOND, IMAGE_ONLY)}
    assert not UNCOND.image and not UNCOND.text and IMAGE_ONLY.image and not IMAGE_ONLY.text


def test_single_scale_by_hand():
    guided = guidance_of(SamplerConfig(guidance="single", text_scale=7.5))((C, U))
    assert guided.unique().tolist() == [1 + 7.5 * 4]


def test_two_scales_by_hand():
    guided = guidance_of(SamplerConfig(guidance="two_scale", text_scale=7.0, image_scale=3.0))((C, U, IMAGE))
    assert guided.unique().tolist() == [1 + 3 * 1 + 7 * 3]


def test_without_an_image_scale_the_text_scale_is_taken_and_the_image_branch_cancels():
    outputs = torch.randn(3, 1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    both = guidance_of(SamplerConfig(guidance="two_scale", text_scale=4.0))(outputs.unbind())
    single = guidance_of(SamplerConfig(guidance="single", text_scale=4.0))(outputs[:2].unbind())
    torch.testing.assert_close(both, single)


def test_a_scale_of_one_is_the_condition_alone():
    guidance = guidance_of(SamplerConfig(guidance="single", text_scale=1.0, guidance_rescale=0.7))
    assert guidance.branches == (COND,)
    assert guidance((C,)) is C


def test_rescale_brings_the_deviation_of_each_sample_to_that_of_the_condition():
    torch.manual_seed(0)
    cond, guided = (
        torch.randn(3, 4, 2, 3, 3) * torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1, 1, 1),
        torch.randn(3, 4, 2, 3, 3),
    )
    full = rescale_guidance(guided, cond, 1.0)
    torch.testing.assert_close(full.flatten(1).std(dim=1), cond.flatten(1).std(dim=1))
    assert rescale_guidance(guided, cond, 0.0).equal(guided)
    torch.testing.assert_close(rescale_guidance(guided, cond, 0.7), 0.7 * full + 0.3 * guided)
    alone = rescale_guidance(guided[1:2], cond[1:2], 0.7)
    torch.testing.assert_close(alone, rescale_guidance(guided, cond, 0.7)[1:2])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SamplerConfig(guidance="both"), "'both'; allowed: none, single, two_scale"),  # type: ignore[arg-type]
        (SamplerConfig(guidance_rescale=1.2), "guidance_rescale is 1.2; allowed: 0 to 1"),
    ],
)
def test_unknown_settings_are_refused(config, words):
    with pytest.raises(ValueError) as caught:
        guidance_of(config)
    assert words in str(caught.value)
