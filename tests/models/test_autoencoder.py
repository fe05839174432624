"""The autoencoder: its arithmetic, its layout and the names and sizes of the published one."""

import pytest
import torch

from models.autoencoder import Autoencoder, Downsample
from models.config import AutoencoderConfig

SMALL = AutoencoderConfig(channels=8, channel_mult=(1, 2, 2), num_res_blocks=1, norm_groups=4)


@pytest.fixture(scope="module")
def small() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(SMALL).eval()


def video(frames: int = 3) -> torch.Tensor:
    return torch.rand(2, 3, frames, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_names_and_sizes_are_those_of_the_published_first_stage():
    with torch.device("meta"):
        state = Autoencoder(AutoencoderConfig()).state_dict()
    assert len(state) == 248
    assert sum(t.numel() for t in state.values()) == 83_653_863
    assert state["encoder.down.1.block.0.nin_shortcut.weight"].shape == (256, 128, 1, 1)
    assert state["decoder.up.3.upsample.conv.weight"].shape == (512, 512, 3, 3)
    assert not any(k.startswith(("decoder.up.0.upsample", "encoder.down.3.downsample")) for k in state)


@torch.no_grad()
def test_latents_are_scaled_means_and_noise_moves_them_by_the_standard_deviation(small):
    clip = video()
    mean, logvar = small.moments(clip.transpose(1, 2).flatten(0, 1))
    latent = small.encode(clip)
    assert latent.shape == (2, 4, 3, 4, 6)
    rows = latent.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(rows, 0.18215 * mean)
    noisy = small.encode(clip, torch.ones_like(latent)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(noisy, 0.18215 * (mean + logvar.exp().sqrt()))


@torch.no_grad()
def test_a_frame_never_sees_the_other_frames(small):
    clip, changed = video(), video()
    changed[:, :, 1] = -changed[:, :, 1]
    before, after = small(clip), small(changed)
    torch.testing.assert_close(before[:, :, [0, 2]], after[:, :, [0, 2]])
    assert (before[:, :, 1] - after[:, :, 1]).abs().max() > 1e-3


def test_decoding_takes_scaled_latents():
    torch.manual_seed(0)
    one, doubled = (
        Autoencoder(SMALL).eval(),
        Autoencoder(AutoencoderConfig(**{**vars(SMALL), "scale_factor": 1.0})),
    )
    doubled.load_state_dict(one.state_dict())
    z = torch.randn(1, 4, 2, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(one.decode(0.18215 * z), doubled.eval().decode(z))


def test_downsampling_pads_at_the_right_and_bottom():
    layer = Downsample(1)
    with torch.no_grad():
        layer.conv.bias.zero_()
        layer.conv.weight.zero_()[0, 0, 2, 2] = 1.0  # takes the site right of and below the next one
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert layer(x)[0, 0].tolist() == [[10.0, 0.0], [0.0, 0.0]]


def test_the_log_variance_is_clamped(small):
    big = torch.full((1, 3, 16, 16), 1e4)
    with torch.no_grad():
        _, logvar = small.moments(big)
    assert logvar.max() <= 20 and logvar.min() >= -30


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 3, 16, 18), "multiples of 4"), ((1, 4, 16, 16), "(N, 3, H, W)")],
)
def test_frames_that_do_not_fit_are_refused(small, shape, words):
    with pytest.raises(ValueError) as caught:
        small.moments(torch.zeros(shape))
    assert words in str(caught.value) and str(shape) in str(caught.value)


def test_latents_and_groups_that_do_not_fit_are_refused(small):
    with pytest.raises(ValueError, match=r"allowed: \(B, 4, T, h, w\)"):
        small.decode(torch.zeros(1, 3, 2, 4, 4))
    with pytest.raises(ValueError, match="8 channels cannot be split into norm_groups = 3"):
        Autoencoder(AutoencoderConfig(channels=8, norm_groups=3))
