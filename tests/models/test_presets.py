"""Presets are what was released; the small ones fit together."""

import pytest
import torch

from models import presets
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, unet_config

RELEASED = [
    # preset, lambda, prediction, rescale, rate, default, size, steps, guidance rescale
    ("256", "learned", "eps", None, "frame_stride", 3, (256, 256), "uniform", 0.0),
    ("512", "fixed", "v", 0.7, "fps", 24, (320, 512), "uniform_trailing", 0.7),
    ("1024", "fixed", "v", 0.3, "fps", 10, (576, 1024), "uniform_trailing", 0.7),
    ("512_interp", "fixed", "v", 0.7, "fps", 24, (320, 512), "uniform_trailing", 0.7),
]


@pytest.mark.parametrize("name, scale, prediction, rescale, rate, default, size, spacing, guidance", RELEASED)
def test_released_settings(name, scale, prediction, rescale, rate, default, size, spacing, guidance):
    config: ModelConfig = getattr(presets, f"dynamicrafter_{name}")()
    sampler = getattr(presets, f"sampler_{name}")()
    assert (config.unet.image_stream, config.diffusion.prediction) == (scale, prediction)
    assert (config.diffusion.dynamic_rescale, config.frame_rate) == (rescale, rate)
    assert (config.unet.default_fps, (config.height, config.width)) == (default, size)
    assert config.diffusion.zero_terminal_snr == (prediction == "v")
    assert (sampler.spacing, sampler.guidance_rescale, sampler.steps) == (spacing, guidance, 50)
    assert config.per_frame_encoding == (name != "256")
    assert (config.frames, unet_config(config).in_channels) == (16, 8)


@pytest.mark.parametrize("name", ["dynamicrafter_256", "dynamicrafter_512_interp", "tiny", "smoke"])
def test_parts_of_a_preset_fit_together(name):
    config: ModelConfig = getattr(presets, name)()
    assert config.projector.embedding_dim == config.clip.vision_width
    assert config.projector.output_dim == config.unet.context_dim == config.clip.text_width
    assert config.projector.frames == config.frames
    assert config.unet.out_channels == config.autoencoder.embed_dim
    halvings = config.autoencoder.downsampling * 2 ** (len(config.unet.channel_mult) - 1)
    assert config.height % halvings == config.width % halvings == 0


def test_tiny_is_tiny_and_smoke_takes_its_weights():
    tiny = DynamiCrafter(presets.tiny())
    assert sum(p.numel() for p in tiny.parameters()) < 2.5e6  # a few MB of weights
    assert presets.tiny().autoencoder.downsampling == 4
    with torch.device("meta"):
        smoke = DynamiCrafter(presets.smoke())
    assert {k: v.shape for k, v in smoke.state_dict().items()} == {k: v.shape for k, v in tiny.state_dict().items()}
