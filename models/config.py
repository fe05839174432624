"""Which parts a DynamiCrafter is made of, their values and their defaults (the released 256x256 model).

Everything here is a frozen dataclass without behaviour: `models/presets.py` returns filled ones and
`models/build.py` turns them into modules. Shapes: B clips, T frames, H x W pixels, h x w latent sites.
Source: DynamiCrafter, arXiv:2310.12190, and the released inference configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ContextKind = Literal["full", "global_token", "none", "beside_text", "hierarchical"]
DetailKind = Literal["repeat", "first_and_last", "none", "stc_encoder", "first_frame"]
ImageScale = Literal["learned", "fixed"]
Prediction = Literal["eps", "v"]
Spacing = Literal[  # official_*: the tables of the official code, which may have other numbers of steps
    "uniform", "uniform_trailing", "quad", "official_uniform", "official_uniform_trailing", "official_quad"
]
GuidanceKind = Literal["none", "single", "two_scale"]
FrameRateKind = Literal["frame_stride", "fps"]

TEXT_STREAM_ALONE = ("none", "beside_text", "hierarchical")  # contexts without an image stream of their own
ENCODED_DETAIL = ("stc_encoder", "first_frame")  # kinds of detail guidance that have parameters


@dataclass(frozen=True)
class UNetConfig:
    """The denoiser: a Stable Diffusion 2 U-Net with temporal layers after each spatial one."""

    in_channels: int = 8  # 4 noisy + 4 of the condition latent
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (1, 2, 4)  # downsampling factors that have attention
    num_head_channels: int = 64
    init_attention_heads: int = 8  # the first temporal transformer, whatever the channels
    transformer_depth: int = 1
    context_dim: int = 1024
    dropout: float = 0.1
    norm_groups: int = 32
    temporal_conv: bool = True
    temporal_attention: bool = True
    init_attention: bool = True  # official `addition_attention`
    image_stream: Literal["learned", "fixed", "none"] = "learned"  # weight of the image stream per layer
    fps_condition: bool = True
    default_fps: int = 3  # taken when no fs is given


@dataclass(frozen=True)
class ProjectorConfig:
    """The context projector P, a query transformer (the official `Resampler`)."""

    dim: int = 1024
    depth: int = 4
    head_channels: int = 64
    heads: int = 12
    tokens_per_frame: int = 16
    frames: int | None = 16  # None: one set of tokens for the whole clip
    embedding_dim: int = 1280
    output_dim: int = 1024
    ff_mult: int = 4


@dataclass(frozen=True)
class AutoencoderConfig:
    """The per-frame KL autoencoder of Stable Diffusion."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 4
    embed_dim: int = 4
    in_channels: int = 3
    out_channels: int = 3
    norm_groups: int = 32
    scale_factor: float = 0.18215

    @property
    def downsampling(self) -> int:
        """Pixels per latent site along one side."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class ClipConfig:
    """The frozen OpenCLIP towers (defaults: ViT-H-14)."""

    embed_dim: int = 1024
    image_size: int = 224
    patch_size: int = 14
    vision_layers: int = 32
    vision_width: int = 1280
    vision_head_width: int = 80
    text_length: int = 77
    vocab_size: int = 49408
    text_width: int = 1024
    text_heads: int = 16
    text_layers: int = 24

    @property
    def image_tokens(self) -> int:
        """Tokens of one image, the class token included."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise schedule and what the network predicts."""

    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    prediction: Prediction = "eps"
    zero_terminal_snr: bool = False
    dynamic_rescale: float | None = None  # the official `base_scale`: 0.7 for 512, 0.3 for 1024

    def __post_init__(self) -> None:
        if self.prediction == "eps" and self.zero_terminal_snr:
            raise ValueError(
                "prediction 'eps' cannot be combined with zero_terminal_snr: at the last step the input is pure "
                "noise and x0 = (x - sqrt(1-a) eps) / sqrt(a) divides by zero; use prediction 'v'"
            )


@dataclass(frozen=True)
class SamplerConfig:
    """How a latent is drawn from the denoiser."""

    steps: int = 50
    spacing: Spacing = "uniform"
    eta: float = 1.0
    guidance: GuidanceKind = "single"
    text_scale: float = 7.5  # the one scale of `single`
    image_scale: float | None = None  # None: the text scale
    guidance_rescale: float = 0.0


@dataclass(frozen=True)
class ModelConfig:
    """One whole DynamiCrafter."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    context: ContextKind = "full"
    visual_detail_guidance: DetailKind = "repeat"
    frames: int = 16
    height: int = 256
    width: int = 256
    frame_rate: FrameRateKind = "frame_stride"  # what the number given to the fps embedding means
    per_frame_encoding: bool = False  # noise of the VAE posterior drawn frame by frame (official `perframe_ae`)
