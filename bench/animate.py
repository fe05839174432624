"""How does one picture with a sentence become a clip: the trained full model, or a checkpoint, sampled once.

Shapes: pictures uint8 (h, w, 3) of any size -> conditions float (1, 3, H, W) in [-1, 1]; clip uint8
(T, H, W, 3), shown at 8 frames per second.
Source: DynamiCrafter, arXiv:2310.12190, and its official inference script, which also resizes the shorter
side and takes the centre; where that leaves black bars beside a narrow picture, this covers the frame.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.animate_models import open_pipeline
from bench.clip_files import allowed_name, size_words, write_clip
from bench.devices import find_devices
from bench.encoded import clip_pixels
from bench.errors import UsageError, known
from bench.precision import arithmetic
from bench.profile import FROZEN, ROOT, Profile, load_profile, model_preset
from bench.progress import PLAIN_EVERY
from bench.seeding import generator, normal
from bench.variants import ENDS
from datasets.clip import Frames
from datasets.images import read_picture
from datasets.transforms import covering_size, fit_frame
from models.config import ModelConfig, SamplerConfig
from models.pipeline import Pipeline, to_uint8
from models.schedule import SPACINGS

MOST_STEPS = 1000
OFFERED = {  # what the release says may be told to each model
    "dynamicrafter_256": (1, 6),
    "dynamicrafter_512": (15, 30),
    "dynamicrafter_1024": (5, 15),
    "dynamicrafter_512_interp": (5, 30),
}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        image: the first frame; any format, size and mode that `datasets.images` reads.
        prompt: what happens; "" for nothing in particular.
        out: the clip: .mp4, .gif, or a folder for PNGs.
        end_image: the last frame.
        loop: the clip ends as it begins; its last frame, which would be shown twice, is left out.
        profile: a profile's name or path.
        checkpoint: weights in the official layout, or of this project's DynamiCrafter; None: the model that comes
            with the profile, or its full model, trained first where the store lacks it.
        seed: of the noise.
        device: "auto", "cpu" or "cuda", for sampling; None: as the profile says.
        steps, guidance_scale, spacing: of the sampler; None: as the profile says.
        frame_stride, fps: what the model is told of the clip's speed, whichever of the two it takes.
        store: where trained models are kept; None: runs/store.
    """

    image: Path
    prompt: str
    out: Path
    end_image: Path | None = None
    loop: bool = False
    profile: str = "tiny"
    checkpoint: Path | None = None
    seed: int = 0
    device: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    spacing: str | None = None
    frame_stride: int | None = None
    fps: int | None = None
    store: Path | None = None

    @property
    def ends(self) -> bool:
        """Whether the clip has a last picture."""
        return self.loop or self.end_image is not None


@dataclass(frozen=True)
class Target:
    """What animates: a profile as far as it concerns one clip.

    Args:
        profile: sizes, sampler, weights.
        model: sizes of everything, and what the model is shown.
        sampler: how latents are drawn.
        fs: frame stride or frames per second that the model is told.
        frozen: files of the autoencoder ("vae") and the encoders ("clip"); empty where a checkpoint must bring them.
    """

    profile: Profile
    model: ModelConfig
    sampler: SamplerConfig
    fs: int
    frozen: Mapping[str, Path]

    @property
    def name(self) -> str:
        """The profile's."""
        return self.profile.name

    @property
    def trains(self) -> bool:
        """Whether the model can be trained here, on the profile's own world."""
        return self.profile.world is not None


def animate(request: Request) -> None:
    """Writes a clip that starts from a picture, and prints how it came about.

    Raises:
        UsageError: the request does not fit together, before any work.
        BenchError: training failed.
        ValueError: a picture or weights cannot be read, or do not fit.
    """
    target = find_target(request)
    check_request(request, target)
    device = find_devices(request.device or target.profile.execution.device)[1][0]
    pictures = [_picture(path, target.model) for path in (request.image, request.end_image) if path is not None]
    pipeline = open_pipeline(request, target).to(device)
    started = time.perf_counter()
    frames = sample(pipeline, target, pictures, request, device)
    seconds = time.perf_counter() - started
    sampler = target.sampler
    print(
        f"sampled: {size_words(frames)}, {sampler.steps} steps ({sampler.spacing}), guidance {sampler.text_scale:g}, "
        f"{_rate_words(target)}, noise seed {request.seed}, {seconds:.1f} s on {device}"
    )
    print(write_clip(request.out, frames))


def _rate_words(target: Target) -> str:
    return f"frame stride {target.fs}" if target.model.frame_rate == "frame_stride" else f"{target.fs} fps"


def find_target(request: Request) -> Target:
    """The profile that is asked for, with the request's own numbers. Raises UsageError for an unknown one."""
    name = request.profile
    profile = load_profile("512-interp" if name == "512_interp" else name)
    model = model_preset(profile.model)
    if request.ends and request.checkpoint is None and profile.world is not None:
        model = replace(model, visual_detail_guidance=ENDS)  # trained here, as the full model is
    changes = {"steps": request.steps, "text_scale": request.guidance_scale, "spacing": request.spacing}
    sampler = replace(profile.sampling.config, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
    stride = model.frame_rate == "frame_stride"
    own = profile.rate.animate or (profile.clip.frame_stride if stride else model.unet.default_fps)
    told = request.frame_stride if stride else request.fps
    frozen = {role: ROOT / profile.weights[role] for role in FROZEN if role in profile.weights}
    return Target(profile, model, sampler, own if told is None else told, frozen)


def check_request(request: Request, target: Target) -> None:
    """Refuses what cannot be done; raises UsageError with every reason."""
    name = allowed_name(request.out)
    errors = [*([name] if name else []), *model_errors(request, target)]
    if errors:
        raise UsageError(errors)


def model_errors(request: Request, target: Target) -> list[str]:
    """What is wrong with a request, but for the name of its clip."""
    errors = [*_sampler_errors(request), *_rate_errors(request, target)]
    if request.device not in (None, "auto", "cpu", "cuda"):
        errors.append(f"--device is '{request.device}'. {known(request.device, ('auto', 'cpu', 'cuda'))}")
    if request.loop and request.end_image is not None:
        errors.append("--loop and --end-image exclude each other: a loop ends as it begins")
    detail = target.model.visual_detail_guidance
    if request.ends and detail != ENDS:
        errors.append(
            f"{'--loop' if request.loop else '--end-image'}: the model of profile {target.name} has visual detail "
            f"guidance '{detail}', which shows it one picture only; the released interpolation model has "
            f"'{ENDS}': --profile 512-interp --checkpoint FILE"
        )
    if detail == ENDS and not request.ends:
        errors.append(
            f"the model of profile {target.name} goes from a first picture to a last one: give --end-image "
            "IMAGE or --loop"
        )
    if request.checkpoint is None and not target.trains:
        errors.append(f"--profile {target.name} has nothing to train on here: give --checkpoint FILE")
    return errors


def _sampler_errors(request: Request) -> list[str]:
    errors = []
    if request.seed < 0:
        errors.append(f"--seed is {request.seed}; allowed: whole numbers from 0")
    if request.steps is not None and not 1 <= request.steps <= MOST_STEPS:
        errors.append(f"--steps is {request.steps}; allowed: 1 to {MOST_STEPS}")
    if request.guidance_scale is not None and not math.isfinite(request.guidance_scale):
        errors.append(f"--guidance-scale is {request.guidance_scale}; allowed: a number, as 7.5 (1: no guidance)")
    if request.spacing is not None and request.spacing not in SPACINGS:
        errors.append(f"--spacing is '{request.spacing}'. {known(request.spacing, SPACINGS)}")
    return errors


def _rate_errors(request: Request, target: Target) -> list[str]:
    """A number that this model would take for something else; a note for one that it never saw."""
    stride = target.model.frame_rate == "frame_stride"
    other = request.fps if stride else request.frame_stride
    if other is not None:
        wrong, right = ("--fps", "--frame-stride") if stride else ("--frame-stride", "--fps")
        says = "frame strides" if stride else "frames per second"
        return [f"{wrong}: the model of profile {target.name} is told {says}: give {right}"]
    option = "--frame-stride" if stride else "--fps"
    if target.fs < 1:
        return [f"{option} is {target.fs}; allowed: whole numbers from 1"]
    strides = target.profile.clip.train_strides
    low, high = OFFERED.get(target.profile.model, (min(strides), max(strides)) if stride else (1, target.fs))
    if not low <= target.fs <= high:
        print(f"note: {option} {target.fs} is beyond what the model has seen, {low} to {high}")
    return []


# Pictures and clips


def _picture(path: Path, config: ModelConfig) -> Frames:
    """A picture at the model's size (H, W, 3), and a line about what was done to it."""
    picture = read_picture(path)
    height, width = picture.frame.shape[:2]
    h, w = covering_size(height, width, config.height, config.width)
    target = (config.height, config.width)
    done = [f"{width}x{height}", *picture.notes]
    done += [] if (h, w) == (height, width) else [f"resized to {w}x{h}"]
    done += [] if (h, w) == target else [f"its centre {config.width}x{config.height} taken"]
    print(f"{path}: {', '.join(done)}")
    return fit_frame(picture.frame, config.height, config.width)


def sample(pipeline: Pipeline, target: Target, pictures: Sequence[Frames], request: Request, device: str) -> Frames:
    """One clip (T, H, W, 3) from one or two pictures (H, W, 3); T is one less than the model's for a loop."""
    first, *rest = pictures
    last = first if request.loop else rest[0] if rest else None
    rng = generator(request.seed, "animate")
    frames = draw_clip(pipeline, target, first, last, request.prompt, rng, device)
    return frames[:-1] if request.loop else frames


def draw_clip(
    pipeline: Pipeline,
    target: Target,
    first: Frames,
    last: Frames | None,
    prompt: str,
    rng: np.random.Generator,
    device: str,
) -> Frames:
    """One clip (T, H, W, 3) from its first picture (H, W, 3), and its last one for a model that is shown both."""
    config = target.model
    start, *end = [clip_pixels(np.array(p)[None, None])[:, :, 0].to(device) for p in (first, last) if p is not None]
    with arithmetic(target.profile.execution.precision, device):
        conditions = pipeline.conditions(start, [prompt], *end)
        shape = (1, conditions.latent.shape[1], config.frames, *conditions.latent.shape[3:])

        def draw(step: int = -1) -> Tensor:
            return normal(rng, shape).to(device)

        rate = torch.tensor([target.fs], device=device)
        latents = pipeline.sample_latents(conditions, rate, draw(), draw, _reporter(target.sampler.steps))
        return np.asarray(to_uint8(pipeline.decode(latents))[0].cpu().numpy())


def _reporter(steps: int) -> Callable[[int, Tensor, Tensor], None]:
    """Says now and then how far slow sampling is."""
    said = time.monotonic()

    def on_step(step: int, x: Tensor, x0: Tensor) -> None:
        nonlocal said
        if time.monotonic() - said >= PLAIN_EVERY:
            said = time.monotonic()
            print(f"step {step + 1} of {steps}", file=sys.stderr, flush=True)

    return on_step
