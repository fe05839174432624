"""What the U-Net is shown beside the noisy latents."""

import pytest
import torch

from models.detail import DETAIL, detail

Z = torch.arange(2 * 4 * 5 * 2 * 2, dtype=torch.float32).reshape(2, 4, 5, 2, 2)
FRAMES = -Z - 1  # condition latents, one per frame


@pytest.mark.parametrize("kind", DETAIL)
def test_noisy_latents_come_first_and_channels_are_as_announced(kind):
    part = detail(kind)
    out = part(Z, FRAMES)
    assert out.shape == (2, 4 + 4 * part.copies, 5, 2, 2)
    assert torch.equal(out[:, :4], Z)


def test_repeat_shows_one_condition_beside_every_frame():
    out = detail("repeat")(Z, FRAMES[:, :, :1])
    for frame in range(5):
        assert torch.equal(out[:, 4:, frame], FRAMES[:, :, 0])
    assert torch.equal(detail("repeat")(Z, FRAMES)[:, 4:], FRAMES)


def test_repeat_names_a_wrong_number_of_frames():
    with pytest.raises(ValueError, match="the condition has 2 frames; allowed: 1, or 5"):
        detail("repeat")(Z, FRAMES[:, :, :2])


@pytest.mark.parametrize("given, last", [(1, 0), (2, 1), (5, 4)])
def test_first_and_last_has_zeros_between(given, last):
    out = detail("first_and_last")(Z, FRAMES[:, :, :given])[:, 4:]
    assert torch.equal(out[:, :, 0], FRAMES[:, :, 0])
    assert torch.equal(out[:, :, 4], FRAMES[:, :, last])
    assert out[:, :, 1:4].abs().max() == 0


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="visual_detail_guidance is 'both'; known: repeat, first_and_last, none"):
        detail("both")
