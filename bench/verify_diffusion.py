"""Do sampling, training loss and the whole pipeline compute what the official code computed?

Reads golden files of kinds g (DDIM runs, every step), h (training losses with gradients) and j (image in,
clip out). Networks are small, their weights come from the rule, every random number is in the file.
Source: outputs of the official DynamiCrafter code (commit c453369), float32 on CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from bench.verify_cases import Case, Left
from bench.verify_configs import (
    first,
    read_autoencoder_config,
    read_diffusion,
    read_projector_config,
    read_sampler,
    read_unet_config,
    told_rate,
)
from bench.verify_frozen import Metadata, Tensors, filled, pixels
from bench.verify_unet import BOUND, TEXT_TOKENS, compare, fill
from models.autoencoder import Autoencoder
from models.checkpoint import Official, projector_entries, unet_entries
from models.config import ContextKind, DetailKind, ModelConfig, ProjectorConfig
from models.dynamicrafter import DynamiCrafter
from models.guidance import guidance_of
from models.losses import Draws, Nulls, TrainBatch, diffuse, drop_conditions, training_loss
from models.pipeline import Conditions, Pipeline, guided_denoiser, to_uint8
from models.projector import ContextProjector
from models.sampler import sample_ddim
from models.schedule import Schedule

SAMPLING_BOUND = 1e-4
LOSS_BOUND = 1e-5
GRADIENT_BOUND = 1e-3
BYTE_BOUND = 2e-3  # of all values may differ, by one level: truncation may turn 4e-5 into one, never into two
OFFICIAL_PREFIXES = ("model.diffusion_model.", "image_proj_model.")
TOKENS_PER_FRAME = 16  # that the official code shares out to the frames; any other number is shown to all
SMALL = ProjectorConfig(dim=8, depth=1, head_channels=8, heads=1, frames=1)  # where none is used
NO_RESULT = "no result of it is in the file"


class ReadyMade(nn.Module):
    """A projector for image tokens that have already been through one."""

    sees_latent = False

    def streams(self, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """(B, T Q, D) -> the image stream."""
        return {"image": image_tokens}


class OfficialModel(DynamiCrafter):
    """A model whose context is cut as in the official code: all tokens in one row, the first 77 are text."""

    joined: Tensor

    def context(self, text: Tensor, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """The streams; the row of all tokens is kept."""
        self.joined = torch.cat(list(super().context(text, image_tokens).values()), dim=1)
        text_stream = {"text": self.joined[:, :TEXT_TOKENS]}
        seen = self.unet.config.image_stream != "none"
        return {**text_stream, "image": self.joined[:, TEXT_TOKENS:]} if seen else text_stream


def build_model(
    unet: Mapping[str, Any], case: Mapping[str, Any], detail: DetailKind, projector: ProjectorConfig | None
) -> OfficialModel:
    """A model in eval mode with the rule's weights; without a projector, image tokens are taken as they come."""
    own = read_unet_config(unet, case.get("learnable_alpha"))
    context: ContextKind = "none" if own.image_stream == "none" else "full"
    config = ModelConfig(unet=own, projector=projector or SMALL, context=context, visual_detail_guidance=detail)
    model = OfficialModel(config).eval()
    model.unet.tokens_per_frame = TOKENS_PER_FRAME
    fill(model.unet, unet_entries(model.unet))
    made = ReadyMade() if projector is None else ContextProjector(projector).eval()
    if isinstance(made, ContextProjector):
        fill(made, projector_entries(made))
    model.projector = made  # type: ignore[assignment]
    return model


def check_sampling(tensors: Tensors, metadata: Metadata) -> Iterator[Case | Left]:
    """Kind g: latents and predicted clean latents after every step, and the result."""
    meta, x_T = metadata["meta"], tensors["x_T"]
    conditions = Conditions(
        tensors["cond_frame"], tensors["text"], tensors["img"], tensors["null_text"], tensors["null_img"]
    )
    for name, case in meta["runs"].items():
        want = part(tensors, name)
        if not want:
            yield Left(name, NO_RESULT)
            continue
        model = build_model(meta["unet_config"], case, "repeat", None)
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
                tensors["step_noises"].__getitem__ if "step_noises" in tensors else None,
                lambda _k, x, x0, seen=steps: seen.append((x, x0)),  # type: ignore[misc]
            )
        x_inter, pred_x0 = (torch.stack(parts) for parts in zip(*steps, strict=True))
        yield from against(name, {"x_inter": x_inter, "pred_x0": pred_x0, "samples": samples}, want, {}, SAMPLING_BOUND)


def part(tensors: Tensors, name: str) -> dict[str, Tensor]:
    """The tensors of a case, without its name before theirs."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def against(
    name: str, got: Mapping[str, Tensor], want: Mapping[str, Tensor], bounds: Mapping[str, float], bound: float
) -> Iterator[Case]:
    """Every result of ours that the file has too; `bounds` of some, else `bound`."""
    for key in (key for key in got if key in want):
        yield compare(f"{name}.{key}", got[key].detach(), want[key], bounds.get(key, bound))


@dataclass
class Recorder:
    """A model that keeps what it answered."""

    model: OfficialModel
    out: Tensor = field(default_factory=lambda: torch.empty(0))

    def context(self, text: Tensor, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """The model's streams."""
        return self.model.context(text, image_tokens, condition)

    def __call__(self, z_t: Tensor, t: Tensor, context: dict[str, Tensor], condition: Tensor, fs: Tensor) -> Tensor:
        """The model's answer, kept."""
        self.out = self.model(z_t, t, context, condition, fs)
        return self.out


def rows(tensor: Tensor, count: int) -> Tensor:
    """As many rows as samples: of a longer or shorter list, from the first on and again from there."""
    return tensor[torch.arange(count) % len(tensor)]


def training_case(
    tensors: Tensors, case: Mapping[str, Any], autoencoder: Autoencoder
) -> tuple[TrainBatch, Draws, Nulls, float]:
    """The batch, the random numbers and the dropout probability of a case of kind h."""
    video, count = tensors["video"], len(tensors["video"])
    noise = rearrange(tensors["vae_noise"], "(b t) c h w -> b c t h w", b=count)
    with torch.no_grad():
        latent = autoencoder.encode(video, noise)
    chosen = [0, latent.shape[2] - 1] if case.get("interp_mode", False) else [case.get("cond_frame_index", 0)]
    told = first(case, "fs_passed")
    batch = TrainBatch(
        latent=latent,
        condition=latent[:, :, chosen],
        text=rows(tensors["text"], count),
        image_tokens=rows(tensors["clip_tokens"], count),
        fs=tensors[told_rate(case)].long() if told is None else torch.tensor(told),
    )
    draw, probability = same_drops(tensors["random_num"], first(case, "uncond_prob", default=0.2))
    draws = Draws(tensors["timesteps"], tensors["noise"], draw)
    return batch, draws, Nulls(tensors["null_text"], tensors["null_clip_tokens"]), probability


def same_drops(draw: Tensor, p: float) -> tuple[Tensor, float]:
    """Numbers and a probability that ours is defined for, which drop what the official code drops by `draw` and `p`.

    Above 1/3 the official ranges overlap the end of what can be drawn, and ours refuses it as a mistake.
    """
    if p <= 1 / 3:
        return draw, p
    text, image = draw < 2 * p, (draw >= p) & (draw < 3 * p)
    return torch.where(text & image, 0.3, torch.where(text, 0.1, torch.where(image, 0.5, 0.9))).to(draw), 0.2


def check_training(tensors: Tensors, metadata: Metadata) -> Iterator[Case | Left]:
    """Kind h: everything on the way to the loss, the loss of every sample, the norm of every gradient."""
    projector = read_projector_config(metadata["resampler_config"])
    for name, case in metadata["meta"].items():
        want = part(tensors, name)
        if not want:
            yield Left(name, NO_RESULT)
            continue
        config = replace(
            read_autoencoder_config(metadata["vae_ddconfig"]), scale_factor=case.get("scale_factor", 0.18215)
        )
        batch, draws, nulls, probability = training_case(tensors, case, filled(Autoencoder(config)))
        detail: DetailKind = "first_and_last" if case.get("interp_mode", False) else "repeat"
        model = build_model(metadata["unet_config"], case, detail, projector)
        schedule = Schedule(read_diffusion(case))
        recorder = Recorder(model)
        loss = training_loss(recorder, schedule, batch, draws, nulls, probability)
        loss.value.backward()
        x_t, target = diffuse(schedule, batch.latent, draws)
        got = {
            "z": batch.latent,
            "c_concat": model.detail(batch.latent, batch.condition)[:, batch.latent.shape[1] :],
            "c_crossattn": model.joined,
            **embedder_inputs(tensors["video"], case, batch, draws.dropout, nulls, probability),
            "x_noisy": x_t,
            "target": target,
            "model_out": recorder.out,
            "per_sample_loss": loss.per_sample,
            "loss": loss.value,
        }
        yield from against(name, got, want, {"per_sample_loss": LOSS_BOUND, "loss": LOSS_BOUND}, BOUND)
        yield from check_gradients(name, model, case, want)


def embedder_inputs(
    video: Tensor, case: Mapping[str, Any], batch: TrainBatch, draw: Tensor, nulls: Nulls, probability: float
) -> dict[str, Tensor]:
    """What the image encoder was shown: the condition frame, or black where our rule drops the image."""
    marked = replace(batch, image_tokens=torch.ones_like(batch.image_tokens))
    blank = replace(nulls, image_tokens=torch.zeros_like(nulls.image_tokens))
    kept = drop_conditions(marked, blank, draw, probability)[1][:, 0, 0]
    shown = video[:, :, case.get("cond_frame_index", 0)] * kept.view(-1, 1, 1, 1)
    return {
        "embedder_in_absmax": shown.abs().flatten(1).amax(dim=1),
        "embedder_in_mean": shown.flatten(1).mean(dim=1),
    }


def check_gradients(name: str, model: DynamiCrafter, case: Mapping[str, Any], want: Tensors) -> Iterator[Case | Left]:
    """Norms of all gradients in the official order, and those gradients that the file has in full."""
    gradients = official_gradients(model)
    names = case.get("grad_param_names", [])
    unknown = set(names) - set(gradients)
    if "grad_norms" in want and unknown:
        yield Case(f"{name}.grad names differ: {', '.join(sorted(unknown)[:3])}", torch.inf, torch.inf, 0.0)
    elif "grad_norms" in want and names:
        norms = torch.stack([gradients[n].norm() for n in names])
        yield compare(f"{name}.grad_norms", norms, want["grad_norms"], GRADIENT_BOUND)
        more = len(set(gradients) - set(names))
        if more:
            yield Left(f"{name}, {more} gradients", "the file does not list them: frozen there")
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
def check_pipeline(tensors: Tensors, metadata: Metadata) -> Iterator[Case | Left]:
    """Kind j: an image becomes a clip; latents, pixels, bytes."""
    projector = read_projector_config(metadata["resampler_config"])
    for name, case in metadata["meta"].items():
        want = part(tensors, name)
        if not want:
            yield Left(name, NO_RESULT)
            continue
        config = replace(
            read_autoencoder_config(metadata["vae_ddconfig"]), scale_factor=case.get("scale_factor", 0.18215)
        )
        ends = case.get("loop", False) or case.get("interp", False)
        model = build_model(metadata["unet_config"], case, "first_and_last" if ends else "repeat", projector)
        schedule, autoencoder = Schedule(read_diffusion(case)), filled(Autoencoder(config))
        pipeline = Pipeline(model, autoencoder, None, None, schedule, read_sampler(schedule, case))
        conditions = pipeline_conditions(pipeline, tensors, case)
        told = first(case, "fs", "frame_stride")
        fs = None if told is None else torch.tensor([told])
        noises = tensors["step_noises"].__getitem__ if "step_noises" in tensors else None
        latent = pipeline.sample_latents(conditions, fs, tensors["x_T"], noises)
        video = pipeline.decode(latent)[0]
        kept = video[:, :-1] if case.get("loop", False) else video
        yield from against(name, {"latent": latent, "video": video}, want, {}, SAMPLING_BOUND)
        if "video_u8_thwc" in want:
            yield compare_bytes(f"{name}.video_u8_thwc", to_uint8(kept[None])[0], want["video_u8_thwc"])


def pipeline_conditions(pipeline: Pipeline, tensors: Tensors, case: Mapping[str, Any]) -> Conditions:
    """Conditions of a case of kind j: row n of its autoencoder noise belongs to frame n."""
    first_image, noise = pixels(tensors["image1_u8"])[None], tensors["vae_noise"]
    last = pixels(tensors["image2_u8"])[None] if case.get("interp", False) else first_image
    both = case.get("loop", False) or case.get("interp", False)
    draws = rearrange(noise[[0, -1]] if both else noise[:1], "t c h w -> 1 c t h w")
    latent = pipeline.condition_latent(first_image, last if both else None, draws)
    parts = (tensors[k] for k in ("text", "clip_tokens", "null_text", "null_clip_tokens"))
    return Conditions(latent, *parts)


def compare_bytes(name: str, got: Tensor, want: Tensor) -> Case:
    """Frames in bytes: few values may differ, by one level."""
    case = compare(name, got, want, BYTE_BOUND)
    same_shape = got.shape == want.shape
    return replace(case, share=float((got != want).float().mean()) if same_shape else torch.inf)
