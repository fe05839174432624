"""Stages start from their parents: nothing lost, nothing silent."""

from dataclasses import replace

import pytest
import torch

from models import presets
from models.dynamicrafter import DynamiCrafter, text_to_image, text_to_video
from models.initialise import CONV_IN, inherit, widen_conv_in

TINY = presets.tiny()
NARROW = replace(TINY, unet=replace(TINY.unet, in_channels=4), visual_detail_guidance="none")


def test_image_model_to_video_model_to_the_whole():
    parents = [DynamiCrafter(text_to_image(TINY)), DynamiCrafter(text_to_video(TINY))]
    report = inherit(parents[1], parents[0].state_dict())
    assert set(report.loaded) == set(parents[0].state_dict())
    assert all("temporal" in name or "rate_embedding" in name for name in report.new)
    whole = DynamiCrafter(TINY)
    report = inherit(whole, parents[1].state_dict())
    assert set(report.loaded) == set(parents[1].state_dict())
    assert all(name.startswith("projector.") or ".streams.image." in name for name in report.new)
    for name, value in parents[0].state_dict().items():
        if name != CONV_IN:
            assert torch.equal(whole.state_dict()[name], value)


@torch.no_grad()
def test_a_widened_model_computes_what_the_narrow_one_did():
    narrow, wide = DynamiCrafter(NARROW), DynamiCrafter(TINY)
    torch.nn.init.normal_(narrow.unet.conv_out.weight)
    assert inherit(wide, narrow.state_dict()).new == ()
    z, t, fs = torch.randn(1, 4, 8, 8, 8), torch.tensor([300]), torch.tensor([3])
    streams = narrow.context(torch.randn(1, 20, 64), torch.randn(1, 17, 64))
    a = narrow(z, t, streams, torch.zeros(1, 4, 1, 8, 8), fs)
    b = wide(z, t, streams, torch.randn(1, 4, 1, 8, 8), fs)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_new_channels_are_zero_and_the_old_ones_unchanged():
    state = DynamiCrafter(NARROW).state_dict()
    wide = widen_conv_in(state, 8)[CONV_IN]
    assert torch.equal(wide[:, :4], state[CONV_IN])
    assert wide.shape[1] == 8
    assert wide[:, 4:].abs().max() == 0
    with pytest.raises(ValueError, match="has 8 inputs, more than the 4 wanted"):
        widen_conv_in({CONV_IN: wide}, 4)


def test_what_does_not_fit_is_named_and_nothing_is_copied():
    model = DynamiCrafter(TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    state["unet.extra.weight"] = torch.zeros(1)
    state["unet.conv_out.bias"] = torch.zeros(5)
    message = r"2 tensors:\n  unet.conv_out.bias: \(5,\) in the parent, \(4,\).*\n  unet.extra.weight: the model"
    with pytest.raises(ValueError, match=message):
        inherit(model, state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_without_context_does_not_take_one():
    parent, child = DynamiCrafter(TINY), DynamiCrafter(replace(TINY, context="none"))
    with pytest.raises(ValueError, match=r"projector\.queries: the model has no such part"):
        inherit(child, parent.state_dict())
