"""What do the full-size models cost on this machine? Seconds and peak memory, with random weights.

On a CPU: the U-Net is built and evaluated once on a clip of 16 frames. On a GPU: a whole clip is sampled, from picture
and prompt to frames, in the arithmetic that the profile names, beside what the authors publish for an A100.
Source of the published figures: the README of Doubiiu/DynamiCrafter, "GPU Mem. & Inference Time (A100, ddim 50steps)".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.precision import arithmetic
from bench.profile import Profile, load_profile, model_preset
from bench.worker import Meter
from models.autoencoder import Autoencoder
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.pipeline import Pipeline, to_uint8
from models.schedule import Schedule
from models.unet import VideoUNet

PUBLISHED = {  # profile: seconds and GB for a clip of 50 steps on an A100, as the authors' README says
    "256": (10.0, 11.9),
    "512": (20.0, 12.8),
    "1024": (75.0, 18.3),
    "512-interp": (20.0, 12.8),
}
SIZES = tuple(PUBLISHED)
PROMPT = "a boy walks along the beach"


@dataclass(frozen=True)
class Cost:
    """One measurement; `gigabytes` are 10^9 bytes, of the GPU or of the whole process on a CPU."""

    size: str
    what: str
    device: str
    arithmetic: str
    threads: int
    parameters: int
    build_seconds: float
    seconds: float
    cpu_seconds: float
    gigabytes: float

    def line(self) -> str:
        """For a person."""
        words = (
            f"{self.size}: {self.what}, {self.parameters / 1e9:.2f} G parameters, {self.arithmetic} on {self.device}"
            f"{f', {self.threads} threads' if self.device == 'cpu' else ''}: {self.seconds:.1f} s"
            f"{f' ({self.cpu_seconds:.1f} CPU s)' if self.device == 'cpu' else ''}, peak {self.gigabytes:.1f} GB, "
            f"built in {self.build_seconds:.1f} s"
        )
        seconds, gigabytes = PUBLISHED.get(self.size, (None, None))
        if self.device == "cpu" or seconds is None:
            return words
        return f"{words}; the authors on an A100, fp16: {seconds:g} s, {gigabytes:g} GB"

    def to_json(self) -> dict[str, Any]:
        """For a program, with the published figures."""
        seconds, gigabytes = PUBLISHED.get(self.size, (None, None))
        return {**asdict(self), "published_seconds": seconds, "published_gigabytes": gigabytes}


def measure(size: str, device: str, precision: str | None = None, steps: int | None = None) -> Cost:
    """One size on one device ("cpu", "cuda:0"): a forward pass on a CPU, a whole clip on a GPU.

    Args:
        size: a profile's name or path.
        precision: "float32", "bf16" or "fp16" on a GPU; None: bf16.
        steps: of the sampler; None: the profile's.
    """
    profile = load_profile(size)
    model = model_preset(profile.model)
    if torch.device(device).type == "cpu":
        return forward(profile.name, model, device)
    sampler = profile.sampling.config if steps is None else replace(profile.sampling.config, steps=steps)
    return clip(profile, model, sampler, device, precision or "bf16")


@torch.no_grad()
def forward(size: str, model: ModelConfig, device: str) -> Cost:
    """Builds the U-Net and evaluates it once, in float32, on one clip: no guidance, so one branch."""
    torch.manual_seed(0)
    building = Meter()
    with torch.device(device):
        unet = VideoUNet(model.unet, model.projector.tokens_per_frame).eval()
    built = building.read()
    x, context = _inputs(model, device)
    running = Meter()
    out = unet(x, torch.tensor([500], device=device), context, torch.tensor([3], device=device))
    spent = running.read()
    if not out.isfinite().all():
        raise ValueError(f"{size}: the forward pass gave values that are no numbers")
    return Cost(
        size=size,
        what=f"one U-Net evaluation, {model.frames} frames of {model.height}x{model.width}",
        device=device,
        arithmetic="float32",
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in unet.parameters()),
        build_seconds=built["seconds"],
        seconds=spent["seconds"],
        cpu_seconds=spent["cpu_seconds"],
        gigabytes=max(built["peak_memory_mb"], spent["peak_memory_mb"]) * 2**20 / 1e9,
    )


def _inputs(model: ModelConfig, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Random latents with their condition, and random contexts."""
    factor = model.autoencoder.downsampling
    x = torch.randn(1, model.unet.in_channels, model.frames, model.height // factor, model.width // factor)
    tokens = model.frames * model.projector.tokens_per_frame
    text = torch.randn(1, model.clip.text_length, model.unet.context_dim)
    image = torch.randn(1, tokens, model.unet.context_dim)
    return x.to(device), {"text": text.to(device), "image": image.to(device)}


@torch.no_grad()
def clip(profile: Profile, model: ModelConfig, sampler: SamplerConfig, device: str, precision: str) -> Cost:
    """Samples a whole clip with random weights: encoders, every step with its guidance, decoder.

    Weights stay float32, as in the official script; `precision` is that of the arithmetic. A short clip goes first,
    so that what a GPU does once is not counted.
    """
    torch.manual_seed(0)
    building = Meter()
    with torch.device(device):
        parts = (
            DynamiCrafter(model),
            Autoencoder(model.autoencoder),
            TextEncoder(model.clip),
            ImageEncoder(model.clip),
        )
        pipeline = Pipeline(*parts, Schedule(model.diffusion), sampler)
    pipeline.to(device)
    built = building.read()
    with arithmetic(precision, device):
        _make(pipeline.with_sampler(steps=1), model, device)
        _reset(device)
        running = Meter()
        frames = _make(pipeline, model, device)
        _wait(device)
        spent = running.read()
    assert frames.shape[1] == model.frames
    return Cost(
        size=profile.name,
        what=f"a clip of {model.frames} frames of {model.height}x{model.width}, {sampler.steps} steps",
        device=device,
        arithmetic=precision,
        threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in pipeline.parameters()),
        build_seconds=built["seconds"],
        seconds=spent["seconds"],
        cpu_seconds=spent["cpu_seconds"],
        gigabytes=_peak(device, spent["peak_memory_mb"]),
    )


def _make(pipeline: Pipeline, model: ModelConfig, device: str) -> Tensor:
    """A clip uint8 (1, T, H, W, 3) of a grey picture; an interpolation model is shown it twice."""
    picture = torch.zeros(1, 3, model.height, model.width, device=device)
    last = picture if model.visual_detail_guidance == "first_and_last" else None
    conditions = pipeline.conditions(picture, [PROMPT], last)
    factor = model.autoencoder.downsampling
    shape = (1, model.unet.out_channels, model.frames, model.height // factor, model.width // factor)

    def draw(step: int = -1) -> Tensor:
        return torch.randn(shape, device=device)

    rate = torch.tensor([model.unet.default_fps], device=device)
    return to_uint8(pipeline.decode(pipeline.sample_latents(conditions, rate, draw(), draw)))


def _reset(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: str, process_mb: float) -> float:
    """Highest memory in 10^9 bytes: what torch took of a GPU, else of the process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    return process_mb * 2**20 / 1e9
