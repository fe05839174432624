"""Which sizes of DynamiCrafter there are, and the sampler of each; functions that return a configuration.

Source: the inference configurations and `run.sh` of the official release (256: eps-prediction, frame stride,
learned lambda; 512, 1024, interpolation: v-prediction with zero terminal SNR, FPS, lambda fixed at 1). `tiny`
and `smoke` are ours: the same architecture at a size that one CPU core trains.
"""

from __future__ import annotations

from dataclasses import replace

from models.config import (
    AutoencoderConfig,
    ClipConfig,
    DiffusionConfig,
    ModelConfig,
    ProjectorConfig,
    SamplerConfig,
    UNetConfig,
)


def dynamicrafter_256() -> ModelConfig:
    """256x256, T = 16, fs is the frame stride (1 to 6)."""
    return ModelConfig()


def dynamicrafter_512() -> ModelConfig:
    """320x512, T = 16, fs is the FPS (15 to 30)."""
    return ModelConfig(
        unet=UNetConfig(image_stream="fixed", default_fps=24),
        diffusion=DiffusionConfig(prediction="v", zero_terminal_snr=True, dynamic_rescale=0.7),
        height=320,
        width=512,
        frame_rate="fps",
        per_frame_encoding=True,
    )


def dynamicrafter_1024() -> ModelConfig:
    """576x1024, T = 16, fs is the FPS (5 to 15)."""
    base = dynamicrafter_512()
    return replace(
        base,
        unet=replace(base.unet, default_fps=10),
        diffusion=replace(base.diffusion, dynamic_rescale=0.3),
        height=576,
        width=1024,
    )


def dynamicrafter_512_interp() -> ModelConfig:
    """320x512, T = 16, first and last frame given (a loop when they are one), fs is the FPS (5 to 30)."""
    return replace(dynamicrafter_512(), visual_detail_guidance="first_and_last")


def tiny() -> ModelConfig:
    """32x32, T = 8, latents 8x8: the whole architecture in a size that one CPU core trains."""
    return ModelConfig(
        unet=UNetConfig(
            model_channels=24,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(1, 2),
            num_head_channels=24,
            init_attention_heads=1,
            context_dim=64,
            dropout=0.0,
            norm_groups=8,
        ),
        projector=ProjectorConfig(
            dim=64,
            depth=2,
            head_channels=16,
            heads=4,
            tokens_per_frame=4,
            frames=8,
            embedding_dim=64,
            output_dim=64,
        ),
        autoencoder=AutoencoderConfig(channels=32, channel_mult=(1, 1, 2), num_res_blocks=1, norm_groups=8),
        clip=ClipConfig(
            embed_dim=64,
            image_size=32,
            patch_size=8,
            vision_layers=3,
            vision_width=64,
            vision_head_width=16,
            text_length=20,
            vocab_size=1024,
            text_width=64,
            text_heads=4,
            text_layers=3,
        ),
        diffusion=DiffusionConfig(prediction="v", zero_terminal_snr=True),
        frames=8,
        height=32,
        width=32,
    )


def smoke() -> ModelConfig:
    """As `tiny`, so that the weights that come with the project fit; the budgets differ, in the profile."""
    return tiny()


def sampler_256() -> SamplerConfig:
    """50 DDIM steps, eta 1, text and image guided together by 7.5."""
    return SamplerConfig()


def sampler_512() -> SamplerConfig:
    """As 256, but with trailing steps (zero terminal SNR needs the last one) and rescaled guidance."""
    return SamplerConfig(spacing="uniform_trailing", guidance_rescale=0.7)


def sampler_1024() -> SamplerConfig:
    """As 512."""
    return sampler_512()


def sampler_512_interp() -> SamplerConfig:
    """As 512."""
    return sampler_512()


def sampler_tiny() -> SamplerConfig:
    """Trailing steps, fewer of them; the profile says how many in a run."""
    return SamplerConfig(steps=10, spacing="uniform_trailing", guidance_rescale=0.7)
