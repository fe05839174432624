"""Ways from bytes to a network's input: worked out by hand on small rows of pixels, and what they may depend on."""

import numpy as np
import pytest
import torch

from bench.metrics.preprocess import PIPELINES

HALF = "shortside_crop_videogpt_half_range"
UNIT = [name for name in PIPELINES if name != HALF]  # those that answer in [-1, 1]
PUBLIC = {
    "direct_bilinear",
    "shortside_crop_float",
    "shortside_crop_videogpt",
    "shortside_crop_cmvq_videogpt_trunc",
    "direct_trilinear_5d",
    "tf1_legacy_bilinear",
    "direct_bilinear_antialias",
}


def clips(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8))


def one_row(values: list[int], size: int, name: str) -> list[float]:
    """What becomes of a picture whose rows are all `values`, in bytes."""
    row = torch.tensor(values, dtype=torch.uint8)
    picture = row[None, None, None, :, None].expand(1, 1, len(values), len(values), 3).contiguous()
    ready = PIPELINES[name](picture, size)
    assert ready.shape == (1, 3, 1, size, size)
    return ((ready[0, 0, 0, 0] + 1) * 127.5).tolist()


def test_every_public_way_has_words_and_users():
    assert set(PIPELINES) == PUBLIC | {HALF}
    assert all(one.name == name and one.words and one.users for name, one in PIPELINES.items())


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_at_the_network_s_own_size_bytes_become_minus_one_to_one(name):
    video = clips(2, 3, 16, 16)
    want = video.permute(0, 4, 1, 2, 3).double() / 127.5 - 1
    ready = PIPELINES[name](video, 16)
    assert ready.dtype == torch.float32 and ready.is_contiguous()
    torch.testing.assert_close(ready.double(), want, atol=5e-7, rtol=0)


def test_the_first_release_of_videogpt_stops_at_half_the_range():
    video = clips(1, 2, 20, 33)
    torch.testing.assert_close(PIPELINES[HALF](video, 16) * 2, PIPELINES["shortside_crop_videogpt"](video, 16))
    assert PIPELINES[HALF](torch.full((1, 1, 16, 16, 3), 255, dtype=torch.uint8), 16).max() == 0.5


def test_grids_by_hand():
    # two pixels to four: centres lie at 1/4 and 3/4 of each; TensorFlow 1 starts at the left edge of a pixel
    assert one_row([0, 100], 4, "direct_bilinear") == pytest.approx([0, 25, 75, 100], abs=1e-4)
    assert one_row([0, 100], 4, "tf1_legacy_bilinear") == pytest.approx([0, 50, 100, 100], abs=1e-4)
    # eight to two: without antialiasing the middle pixels of each half alone count
    waves = [200, 0, 0, 200, 200, 0, 0, 200]
    assert one_row(waves, 2, "direct_bilinear") == pytest.approx([0, 0], abs=1e-4)
    assert one_row(waves, 2, "tf1_legacy_bilinear") == pytest.approx([200, 200], abs=1e-4)
    assert min(one_row(waves, 2, "direct_bilinear_antialias")) > 60


@pytest.mark.parametrize("name", [name for name in PIPELINES if name.startswith("shortside")])
@pytest.mark.parametrize("upright", [False, True])
def test_a_crop_keeps_the_middle_and_the_aspect(name, upright):
    video = torch.zeros(1, 1, 16, 48, 3, dtype=torch.uint8)
    video[..., 16:32, :] = 255  # the middle third is white
    if upright:
        video = video.transpose(2, 3).contiguous()
    assert (PIPELINES[name](video, 16) == PIPELINES[name](torch.full_like(video, 255), 16)).all()
    assert PIPELINES["direct_bilinear"](video, 16).min() == -1  # squashed, the sides stay


def test_the_other_side_is_rounded_up_before_the_crop():
    video = clips(1, 1, 10, 13)  # to 16 x 20.8: 21 columns, of which 2 go on the left and 3 on the right
    whole = torch.nn.functional.interpolate(video[0].permute(0, 3, 1, 2).float() / 255, (16, 21), mode="bilinear")
    ready = PIPELINES["shortside_crop_float"](video, 16)[0].transpose(0, 1)
    torch.testing.assert_close(ready, (whole[..., 2:18] - 0.5) * 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_frame_depends_on_itself_alone(name):
    video = clips(3, 4, 22, 31)
    together = PIPELINES[name](video, 16)
    alone = torch.cat([PIPELINES[name](clip[None], 16) for clip in video])
    frame = PIPELINES[name](video[1:2, 2:3], 16)
    assert together.equal(alone)
    assert together[1:2, :, 2:3].equal(frame)


@pytest.mark.parametrize("name", UNIT)
def test_values_stay_in_range(name):
    ready = PIPELINES[name](clips(1, 2, 37, 19), 24)
    assert ready.min() >= -1 - 1e-6 and ready.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("video", "size", "words"),
    [
        (torch.zeros(1, 2, 8, 8, 3), 8, r"clips \(1, 2, 8, 8, 3\) torch.float32; wanted \(B, T, H, W, 3\) torch.uint8"),
        (torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), 8, "wanted"),
        (torch.zeros(1, 0, 8, 8, 3, dtype=torch.uint8), 8, "none empty"),
        (torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8), 0, "size is 0"),
    ],
)
def test_what_is_no_clip_is_refused(video, size, words):
    with pytest.raises(ValueError, match=words):
        PIPELINES["direct_bilinear"](video, size)
