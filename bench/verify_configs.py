"""What do the official words of a golden file's metadata mean: which of our configurations is that?

A word that is left out has the value that the official code gives it. What this project's networks cannot be (causal
or relative positions, resampling residual blocks, ...) raises ValueError, which fails the file's cases by name.
Source: the arguments of the official classes (Doubiiu/DynamiCrafter) and of open_clip.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from models import presets
from models.config import AutoencoderConfig, ClipConfig, DiffusionConfig, ProjectorConfig, SamplerConfig, UNetConfig
from models.schedule import RAMP, Schedule

Official = Mapping[str, Any]
OFFICIAL_SPACING = {
    "uniform": "official_uniform",
    "uniform_trailing": "official_uniform_trailing",
    "quad": "official_quad",
}
PUBLISHED = {
    "1024": presets.dynamicrafter_1024,
    "512": presets.dynamicrafter_512,
    "256": presets.dynamicrafter_256,
}
NOT_OURS: dict[str, object] = {  # U-Net switches: the one value that our network has
    "use_relative_position": False,
    "use_causal_attention": False,
    "use_scale_shift_norm": False,
    "resblock_updown": False,
    "conv_resample": True,
    "tempspatial_aware": False,
    "dims": 2,
}
DEFAULT_BASE = 0.7  # of the dynamic rescale, where it is switched on and not said


def first(case: Official, *names: str, default: Any = None) -> Any:
    """The value under the first of several names for one thing that a case has and that is not null."""
    return next((case[name] for name in names if case.get(name) is not None), default)


def refuse(official: Official, allowed: Mapping[str, object], what: str) -> None:
    """Raises ValueError naming every word whose value our network cannot have."""
    odd = [f"{name} {official[name]!r}" for name, value in allowed.items() if official.get(name, value) != value]
    if odd:
        raise ValueError(f"{what} of this project is never with {', '.join(odd)}")


def read_unet_config(official: Official, learned: bool | None = None) -> UNetConfig:
    """An official U-Net configuration as ours; `learned` overrides whether lambda is learned."""
    refuse(official, NOT_OURS, "a U-Net")
    if official.get("num_head_channels", -1) == -1:
        raise ValueError("num_head_channels is not given: a U-Net of this project has heads of one width")
    image: Literal["learned", "fixed", "none"] = "none"
    if official.get("image_cross_attention", False):
        own = official.get("image_cross_attention_scale_learnable", False)
        image = "learned" if (own if learned is None else learned) else "fixed"
    return UNetConfig(
        in_channels=official["in_channels"],
        out_channels=official["out_channels"],
        model_channels=official["model_channels"],
        channel_mult=tuple(official.get("channel_mult", (1, 2, 4, 8))),
        num_res_blocks=official["num_res_blocks"],
        attention_resolutions=tuple(official["attention_resolutions"]),
        num_head_channels=official["num_head_channels"],
        transformer_depth=official.get("transformer_depth", 1),
        context_dim=official["context_dim"],
        dropout=official.get("dropout", 0.0),
        temporal_conv=official.get("temporal_conv", False),
        temporal_attention=official.get("temporal_attention", True),
        init_attention=official.get("addition_attention", False),
        image_stream=image,
        fps_condition=official.get("fs_condition", False),
        default_fps=official.get("default_fs", 4),
    )


def read_projector_config(official: Official) -> ProjectorConfig:
    """An official Resampler configuration as ours."""
    return ProjectorConfig(
        dim=official.get("dim", 1024),
        depth=official.get("depth", 8),
        head_channels=official.get("dim_head", 64),
        heads=official.get("heads", 16),
        tokens_per_frame=official.get("num_queries", 8),
        frames=official.get("video_length"),
        embedding_dim=official.get("embedding_dim", 768),
        output_dim=official.get("output_dim", 1024),
        ff_mult=official.get("ff_mult", 4),
    )


def read_autoencoder_config(official: Official, embed_dim: int | None = None) -> AutoencoderConfig:
    """An official `ddconfig` as ours."""
    refuse(official, {"attn_resolutions": [], "double_z": True, "resamp_with_conv": True}, "an autoencoder")
    return AutoencoderConfig(
        channels=official["ch"],
        channel_mult=tuple(official.get("ch_mult", (1, 2, 4, 8))),
        num_res_blocks=official["num_res_blocks"],
        z_channels=official["z_channels"],
        embed_dim=official["z_channels"] if embed_dim is None else embed_dim,
        in_channels=official["in_channels"],
        out_channels=official["out_ch"],
    )


def read_clip_config(official: Official) -> ClipConfig:
    """An open_clip configuration as ours."""
    vision, text = official["vision_cfg"], official["text_cfg"]
    refuse(official, {"quick_gelu": False, "custom_text": False}, "a CLIP")
    for tower in (vision, text):
        refuse(tower, {"mlp_ratio": 4.0}, "a CLIP tower")
    return ClipConfig(
        embed_dim=official["embed_dim"],
        image_size=vision.get("image_size", 224),
        patch_size=vision.get("patch_size", 16),
        vision_layers=vision["layers"],
        vision_width=vision["width"],
        vision_head_width=vision.get("head_width", 64),
        text_length=text.get("context_length", 77),
        vocab_size=text.get("vocab_size", 49408),
        text_width=text["width"],
        text_heads=text["heads"],
        text_layers=text["layers"],
    )


def published_diffusion(name: str) -> DiffusionConfig | None:
    """The diffusion of the released size (256, 512 or 1024) that a file or configuration name mentions."""
    found = re.search("|".join(PUBLISHED), name)
    return PUBLISHED[found.group()]().diffusion if found else None


def read_diffusion(case: Official) -> DiffusionConfig:
    """The diffusion of a case: that of the released configuration it names, with what the case says differently."""
    changes: dict[str, Any] = {**case.get("overrides", {})}
    said = {**case, **changes}
    base = published_diffusion(str(case.get("yaml", "")))
    prediction = said.get("parameterization", base.prediction if base else "eps")
    zero = said.get("rescale_betas_zero_snr", base.zero_terminal_snr if base else prediction == "v")
    of_yaml = base.dynamic_rescale if base else None
    rescaled = said.get("use_dynamic_rescale", of_yaml is not None)
    refuse(said, {"turning_step": RAMP, "beta_schedule": "linear"}, "a schedule")
    default = DiffusionConfig()
    return DiffusionConfig(
        steps=changes.get("timesteps", default.steps),
        beta_start=said.get("linear_start", default.beta_start),
        beta_end=said.get("linear_end", default.beta_end),
        prediction=prediction,
        zero_terminal_snr=zero,
        dynamic_rescale=said.get("base_scale", of_yaml or DEFAULT_BASE) if rescaled else None,
    )


def requested_steps(schedule: Schedule, spacing: str, case: Official) -> int:
    """The number of steps asked for: the official spacing may make another number of them.

    Raises ValueError when no number gives the timesteps of the case.
    """
    want, asked = case.get("timesteps"), first(case, "steps", "ddim_steps")
    if want is None:
        return int(asked)
    for steps in (asked or len(want), *range(1, schedule.config.steps + 1)):
        try:
            if schedule.timesteps(spacing, steps).tolist() == want:
                return int(steps)
        except ValueError:
            continue  # the official table of that number runs past the schedule
    raise ValueError(f"no number of steps in spacing {spacing!r} visits the timesteps {want}")


def read_sampler(schedule: Schedule, case: Official) -> SamplerConfig:
    """The sampler of a case of kind g or j, whose words for it differ."""
    spacing = OFFICIAL_SPACING[first(case, "timestep_spacing", "spacing", default="uniform")]
    scale = first(case, "unconditional_guidance_scale", "scale", default=1.0)
    multiple = first(case, "multi", "multiple_cond_cfg", default=case.get("sampler") == "ddim_multiplecond")
    return SamplerConfig(
        steps=requested_steps(schedule, spacing, case),
        spacing=spacing,  # type: ignore[arg-type]
        eta=first(case, "eta", "ddim_eta", default=0.0),
        guidance="none" if scale == 1.0 else "two_scale" if multiple else "single",
        text_scale=scale,
        image_scale=case.get("cfg_img"),
        guidance_rescale=first(case, "guidance_rescale", "gr", default=0.0),
    )


def told_rate(case: Official) -> str:
    """Which of a batch's rates the model is told: its frame stride (256), or its frames per second."""
    return "frame_stride" if published_diffusion(str(case.get("yaml", ""))) == PUBLISHED["256"]().diffusion else "fps"


def with_streams(config: UNetConfig, image: str) -> UNetConfig:
    """`config` with another image stream."""
    return replace(config, image_stream=image)  # type: ignore[arg-type]
