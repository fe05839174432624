"""Do sampling, training loss and the whole pipeline compute what the official code computed?

Reads golden files of kinds g (DDIM runs, every step), h (training losses with gradients) and j (image in,
clip out). Networks are small, their weights come from the rule, every random number is in the file.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from bench.verify_frozen import (
    OFFICIAL_SPACING,
    Metadata,
    Tensors,
    filled,
    pixels,
    published_diffusion,
    read_autoencoder_config,
)
from bench.verify_unet import BOUND, Case, compare, fill, read_projector_config, read_unet_config
from models.autoencoder import Autoencoder
from models.checkpoint import Official, projector_entries, unet_entries
from models.config import (
    DetailKind,
    DiffusionConfig,
    ModelConfig,
    ProjectorConfig,
    SamplerConfig,
)
from models.dynamicrafter import DynamiCrafter
from models.guidance import guidance_of
from models.losses import Draws, Nulls, TrainBatch, diffuse, training_loss
from models.pipeline import Conditions, Pipeline, guided_denoiser, to_uint8
from models.projector import ContextProjector
from models.sampler import sample_ddim
from models.schedule import Schedule

SAMPLING_BOUND = 1e-4
LOSS_BOUND = 1e-5
GRADIENT_BOUND = 1e-3
BYTE_BOUND = 1e-3  # truncation may turn 4e-5 into a level, never into two
OFFICIAL_PREFIXES = ("model.diffusion_model.", "image_proj_model.")


class ReadyMade(nn.Module):
    """A projector for image tokens that have already been through one."""

    def streams(self, image_tokens: Tensor) -> dict[str, Tensor]:
        """(B, T Q, D) -> the image stream."""
        return {"image": image_tokens}


def build_model(
    unet: Mapping[str, Any], learnable: bool, detail: DetailKind, projector: ProjectorConfig
) -> DynamiCrafter:
    """A model in eval mode with the rule's weights; lambda learned or fixed."""
    config = ModelConfig(
        unet=replace(read_unet_config(unet), image_stream="learned" if learnable else "fixed"),
        projector=projector,
        visual_detail_guidance=detail,
    )
    model = DynamiCrafter(config).eval()
    fill(model.unet, unet_entries(model.unet))
    if isinstance(model.projector, ContextProjector):
        fill(model.projector, projector_entries(model.projector))
    return model


def read_diffusion(case: Mapping[str, Any]) -> DiffusionConfig:
    """The diffusion of a case: that of the released configuration it names, with its overrides."""
    config = published_diffusion(case["yaml"]) or DiffusionConfig()
    prediction = case.get("parameterization", config.prediction)
    rescaled = case.get("use_dynamic_rescale", config.dynamic_rescale is not None)
    base = case.get("overrides", {}).get("base_scale", config.dynamic_rescale)
    zero = case.get("overrides", {}).get("rescale_betas_zero_snr", prediction == "v")
    return replace(
        config,
        prediction=prediction,
        zero_terminal_snr=zero,
        dynamic_rescale=base if rescaled else None,
    )


def requested_steps(schedule: Schedule, spacing: str, case: Mapping[str, Any]) -> int:
    """The number of steps asked for: the official spacing may make another number of them.

    Raises:
        ValueError: no number gives the timesteps of the case.
    """
    want = case.get("timesteps")
    if want is None:
        return int(case["steps"])
    for steps in (case.get("steps", len(want)), *range(1, schedule.config.steps + 1)):
        try:
            if schedule.timesteps(spacing, steps).tolist() == want:
                return int(steps)
        except ValueError:
            continue  # the official table of that number runs past the schedule
    raise ValueError(f"no number of steps in spacing {spacing!r} visits the timesteps {want}")


def read_sampler(schedule: Schedule, case: Mapping[str, Any]) -> SamplerConfig:
    """The sampler of a case of kind g or j, whose words for it differ."""
    spacing = OFFICIAL_SPACING[case.get("timestep_spacing", case.get("spacing", "uniform"))]
    scale = case.get("unconditional_guidance_scale", case.get("scale"))
    multiple = case.get("multi", case.get("sampler") == "ddim_multiplecond")
    return SamplerConfig(
        steps=requested_steps(schedule, spacing, case),
        spacing=spacing,  # type: ignore[arg-type]
        eta=case["eta"],
        guidance="none" if scale == 1.0 else "two_scale" if multiple else "single",
        text_scale=scale,
        image_scale=case.get("cfg_img"),
        guidance_rescale=case.get("guidance_rescale", case.get("gr", 0.0)),
    )


def token_layout(frames: int, tokens: int) -> ProjectorConfig:
    """A projector configuration that only says how many image tokens a frame has."""
    return ProjectorConfig(
        dim=8, depth=1, head_channels=8, heads=1, tokens_per_frame=tokens // frames, frames=1
    )


def check_sampling(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind g: latents and predicted clean latents after every step, and the result."""
    meta, x_T = metadata["meta"], tensors["x_T"]
    size = token_layout(x_T.shape[2], tensors["img"].shape[1])
    conditions = Conditions(
        tensors["cond_frame"], tensors["text"], tensors["img"], tensors["null_text"], tensors["null_img"]
    )
    for name, case in meta["runs"].items():
        model = build_model(meta["unet_config"], case["learnable_alpha"], "repeat", size)
        model.projector = ReadyMade()  # type: ignore[assignment]
        schedule = Schedule(read_diffusion(case))
        config = read_sampler(schedule, case)
        steps: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            denoise = guided_denoiser(model, guidance_of(config), conditions, tensors.get("fs"), x_T.shape[2])
            samples = sample_ddim(
                denoise,
                schedule,
                config,
                x_T,
                tensors["step_noises"].__getitem__,
                lambda _k, x, x0, seen=steps: seen.append((x, x0)),  # type: ignore[misc]
            )
        x_inter, pred_x0 = (torch.stack(parts) for parts in zip(*steps, strict=True))
        yield compare(f"{name}.x_inter", x_inter, tensors[f"{name}.x_inter"], SAMPLING_BOUND)
        yield compare(f"{name}.pred_x0", pred_x0, tensors[f"{name}.pred_x0"], SAMPLING_BOUND)
        yield compare(f"{name}.samples", samples, tensors[f"{name}.samples"], SAMPLING_BOUND)


@dataclass
class Recorder:
    """A model that keeps what it was last asked and what it answered."""

    model: DynamiCrafter
    context_seen: dict[str, Tensor]
    out: Tensor

    def context(self, text: Tensor, image_tokens: Tensor) -> dict[str, Tensor]:
        """The model's streams, kept."""
        self.context_seen = self.model.context(text, image_tokens)
        return self.context_seen

    def __call__(
        self, z_t: Tensor, t: Tensor, context: dict[str, Tensor], condition: Tensor, fs: Tensor
    ) -> Tensor:
        """The model's answer, kept."""
        self.out = self.model(z_t, t, context, condition, fs)
        return self.out


def training_case(
    tensors: Tensors, case: Mapping[str, Any], autoencoder: Autoencoder
) -> tuple[TrainBatch, Draws, Nulls]:
    """The batch and the random numbers of a case of kind h."""
    video = tensors["video"]
    noise = rearrange(tensors["vae_noise"], "(b t) c h w -> b c t h w", b=video.shape[0])
    with torch.no_grad():
        latent = autoencoder.encode(video, noise)
    first = case["cond_frame_index"]
    chosen = [0, latent.shape[2] - 1] if case["interp_mode"] else [first]
    batch = TrainBatch(
        latent=latent,
        condition=latent[:, :, chosen],
        text=tensors["text"],
        image_tokens=tensors["clip_tokens"],
        fs=torch.tensor(case["fs_passed"]),
    )
    draws = Draws(tensors["timesteps"], tensors["noise"], tensors["random_num"])
    return batch, draws, Nulls(tensors["null_text"], tensors["null_clip_tokens"])


def check_training(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind h: everything on the way to the loss, the loss of every sample, the norm of every gradient."""
    projector = read_projector_config(metadata["resampler_config"])
    for name, case in metadata["meta"].items():
        config = replace(
            read_autoencoder_config(metadata["vae_ddconfig"]), scale_factor=case.get("scale_factor", 0.18215)
        )
        batch, draws, nulls = training_case(tensors, case, filled(Autoencoder(config)))
        detail: DetailKind = "first_and_last" if case["interp_mode"] else "repeat"
        model = build_model(metadata["unet_config"], case["learnable_alpha"], detail, projector)
        schedule = Schedule(read_diffusion(case))
        recorder = Recorder(model, {}, torch.empty(0))
        loss = training_loss(recorder, schedule, batch, draws, nulls, case["uncond_prob"])
        loss.value.backward()
        x_t, target = diffuse(schedule, batch.latent, draws)
        want = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
        shown = model.detail(batch.latent, batch.condition)[:, batch.latent.shape[1] :]
        context = torch.cat(list(recorder.context_seen.values()), dim=1).detach()
        yield compare(f"{name}.z", batch.latent, want["z"], BOUND)
        yield compare(f"{name}.c_concat", shown, want["c_concat"], BOUND)
        yield compare(f"{name}.c_crossattn", context, want["c_crossattn"], BOUND)
        yield compare(f"{name}.x_noisy", x_t, want["x_noisy"], BOUND)
        yield compare(f"{name}.target", target, want["target"], BOUND)
        yield compare(f"{name}.model_out", recorder.out.detach(), want["model_out"], BOUND)
        yield compare(
            f"{name}.per_sample_loss", loss.per_sample.detach(), want["per_sample_loss"], LOSS_BOUND
        )
        yield compare(f"{name}.loss", loss.value.detach(), want["loss"], LOSS_BOUND)
        yield from check_gradients(name, model, case, want)


def check_gradients(
    name: str, model: DynamiCrafter, case: Mapping[str, Any], want: Tensors
) -> Iterator[Case]:
    """Norms of all gradients in the official order, and those gradients that the file has in full."""
    gradients = official_gradients(model)
    names = [n for n in case["grad_param_names"] if n in gradients]
    unknown = set(case["grad_param_names"]) ^ set(gradients)
    if unknown:
        yield Case(f"{name}.grad names differ: {', '.join(sorted(unknown)[:3])}", torch.inf, torch.inf, 0.0)
        return
    norms = torch.stack([gradients[n].norm() for n in names])
    yield compare(f"{name}.grad_norms", norms, want["grad_norms"], GRADIENT_BOUND)
    for key in sorted(k for k in want if k.startswith("grad.")):
        short = key.removeprefix("grad.")
        full = short if short in gradients else OFFICIAL_PREFIXES[0] + short
        yield compare(f"{name}.{key}", gradients[full], want[key], GRADIENT_BOUND)


def official_gradients(model: DynamiCrafter) -> dict[str, Tensor]:
    """{official name: gradient in the official shape}, of the parameters that have one."""
    parts: list[tuple[str, nn.Module, Mapping[str, Official]]]
    parts = [(OFFICIAL_PREFIXES[0], model.unet, unet_entries(model.unet))]
    if isinstance(model.projector, ContextProjector):
        parts.append((OFFICIAL_PREFIXES[1], model.projector, projector_entries(model.projector)))
    return {
        prefix + entries[n].name: p.grad.reshape(entries[n].shape)
        for prefix, module, entries in parts
        for n, p in module.named_parameters()
        if p.grad is not None
    }


@torch.no_grad()
def check_pipeline(tensors: Tensors, metadata: Metadata) -> Iterator[Case]:
    """Kind j: an image becomes a clip; latents, pixels, bytes."""
    projector = read_projector_config(metadata["resampler_config"])
    autoencoder = filled(Autoencoder(read_autoencoder_config(metadata["vae_ddconfig"])))
    for name, case in metadata["meta"].items():
        ends = case.get("loop", False) or case.get("interp", False)
        detail: DetailKind = "first_and_last" if ends else "repeat"
        model = build_model(metadata["unet_config"], case["learnable_alpha"], detail, projector)
        schedule = Schedule(read_diffusion(case))
        pipeline = Pipeline(model, autoencoder, None, None, schedule, read_sampler(schedule, case))
        conditions = pipeline_conditions(pipeline, tensors, case)
        fs = torch.tensor([case["fs"]])
        noises = tensors["step_noises"].__getitem__
        latent = pipeline.sample_latents(conditions, fs, tensors["x_T"], noises)
        video = pipeline.decode(latent)
        frames = to_uint8(video)[0][: len(tensors[f"{name}.video_u8_thwc"])]
        yield compare(f"{name}.latent", latent, tensors[f"{name}.latent"], SAMPLING_BOUND)
        yield compare(f"{name}.video", video[0], tensors[f"{name}.video"], SAMPLING_BOUND)
        yield compare_bytes(f"{name}.video_u8_thwc", frames, tensors[f"{name}.video_u8_thwc"])


def pipeline_conditions(pipeline: Pipeline, tensors: Tensors, case: Mapping[str, Any]) -> Conditions:
    """Conditions of a case of kind j: row n of its autoencoder noise belongs to frame n."""
    first, noise = pixels(tensors["image1_u8"])[None], tensors["vae_noise"]
    last = pixels(tensors["image2_u8"])[None] if case.get("interp", False) else first
    both = case.get("loop", False) or case.get("interp", False)
    rows = noise[[0, -1]] if both else noise[:1]
    draws = rearrange(rows, "t c h w -> 1 c t h w")
    latent = pipeline.condition_latent(first, last if both else None, draws)
    parts = (tensors[k] for k in ("text", "clip_tokens", "null_text", "null_clip_tokens"))
    return Conditions(latent, *parts)


def compare_bytes(name: str, got: Tensor, want: Tensor) -> Case:
    """Frames in bytes: truncation may differ by one level in few values; more is an infinite error."""
    case = compare(name, got, want, BYTE_BOUND)
    return case if case.max_abs <= 1 else replace(case, rel_l2=torch.inf)
