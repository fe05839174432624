"""How does one picture with a sentence become a clip: the trained full model, or a checkpoint, sampled once.

Shapes: pictures uint8 (h, w, 3) of any size -> conditions float (1, 3, H, W) in [-1, 1]; clip uint8
(T, H, W, 3), written as h264 at 8 frames per second.
Source: DynamiCrafter, arXiv:2310.12190, and its official inference script, which also resizes the shorter
side and takes the centre; where that leaves black bars beside a narrow picture, this covers the frame.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.checks import OFFICIAL_PARTS
from bench.devices import find_devices
from bench.encoded import clip_pixels
from bench.engine import LocalEngine
from bench.errors import BenchError, Interrupted, UsageError, known
from bench.fingerprint import FileHashes
from bench.graph import Graph, Step
from bench.previews import SHOWN_FPS, write_video
from bench.profile import ROOT, load_profile, model_preset, profile_names
from bench.progress import PLAIN_EVERY, display_for
from bench.runner import Options, Prepared, failures, prepare
from bench.seeding import generator, normal
from bench.steps.train import FILE
from bench.store import Store
from datasets.clip import Frames
from datasets.images import read_image
from datasets.transforms import covering_size, fit_frame
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import (
    Modules,
    OfficialState,
    check_official,
    expected_entries,
    load_official,
    open_official,
    problems,
)
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.pipeline import Pipeline, to_uint8
from models.schedule import Schedule
from models.weights import load_module, load_state, load_tensors

SPEC = ROOT / "ablations" / "dual_stream.yaml"
VARIANT = "full"
_ABSENT = "the model starts from it. `python -m bench pretrain` makes the tiny weights again"
OWN_PARTS = ("unet.", "projector.")
SHORT_SIDE = 256  # pixels; smaller clips are enlarged, every pixel a square of pixels
RELEASED: dict[str, tuple[Callable[[], ModelConfig], Callable[[], SamplerConfig]]] = {
    "256": (presets.dynamicrafter_256, presets.sampler_256),
    "512": (presets.dynamicrafter_512, presets.sampler_512),
    "1024": (presets.dynamicrafter_1024, presets.sampler_1024),
    "512_interp": (presets.dynamicrafter_512_interp, presets.sampler_512_interp),
}


@dataclass(frozen=True)
class Target:
    """What animates.

    Args:
        name: of the profile, or of a released size.
        model: sizes of everything.
        sampler: how latents are drawn.
        fs: frame stride or FPS that the model is told; None: its default.
        frozen: files of the autoencoder ("vae") and the encoders ("clip"); empty for a released size, whose
            checkpoint holds them.
        trains: whether the model can be trained here, on the profile's own world.
    """

    name: str
    model: ModelConfig
    sampler: SamplerConfig
    fs: int | None = None
    frozen: Mapping[str, Path] | None = None
    trains: bool = False


def animate(
    image: Path,
    prompt: str,
    out: Path,
    end_image: Path | None = None,
    loop: bool = False,
    profile: str = "tiny",
    checkpoint: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> None:
    """Writes a clip that starts from a picture, and prints how it came about.

    Args:
        image: the first frame; any format and mode that `datasets.images` reads.
        prompt: what happens; "" for nothing in particular.
        out: the clip, a name that ends in .mp4; a file that is there is replaced.
        end_image: the last frame, for a model with first-and-last detail guidance.
        loop: the clip ends as it begins (same models); its last frame is left out.
        profile: a profile's name or path, or with a checkpoint a released size (a key of RELEASED).
        checkpoint: weights in the official layout, or of this project's DynamiCrafter; None: the full model
            of the profile, trained first where the store lacks it.
        seed: of the noise.
        device: "auto", "cpu" or "cuda", for sampling; training is placed by the profile, as in `bench run`.

    Raises:
        UsageError: the request does not fit together, before any work.
        BenchError: training failed.
        ValueError: a picture or weights cannot be read, or do not fit.
    """
    target = find_target(profile)
    check_request(target, out, end_image, loop, checkpoint, seed, device)
    place = find_devices(device)[1][0]
    pictures = [_picture(path, target.model) for path in (image, end_image) if path is not None]
    parts = from_checkpoint(checkpoint, target) if checkpoint else trained(profile, target)
    pipeline = _pipeline(parts, target).to(place)
    started = time.perf_counter()
    frames = sample(pipeline, target, pictures, prompt, loop, seed, place)
    seconds = time.perf_counter() - started
    steps = target.sampler.steps
    print(f"sampled: {_size(frames)}, {steps} steps, noise seed {seed}, {seconds:.1f} s on {place}")
    _write(out, frames)


def find_target(name: str) -> Target:
    """What a profile's name, path or a released size stands for. Raises UsageError when it is neither."""
    names = profile_names()
    size = name.replace("-", "_")
    if size in RELEASED and name not in names:
        model, sampler = RELEASED[size]
        return Target(size, model(), sampler())
    if "/" not in name and not name.endswith((".yaml", ".yml")) and name not in names:
        raise UsageError(f"--profile {name}: {known(name, [*names, *RELEASED])}")
    profile = load_profile(name)
    config = model_preset(profile.model)
    return Target(
        name=profile.name,
        model=config,
        sampler=profile.sampling.config,
        fs=profile.clip.frame_stride if config.frame_rate == "frame_stride" else None,
        frozen={role: ROOT / profile.weights[role] for role in ("vae", "clip")},
        trains=profile.world is not None,
    )


def check_request(
    target: Target,
    out: Path,
    end_image: Path | None,
    loop: bool,
    checkpoint: Path | None,
    seed: int,
    device: str,
) -> None:
    """Refuses what cannot be done; raises UsageError with every reason."""
    detail, ends = target.model.visual_detail_guidance, loop or end_image is not None
    errors = []
    if out.suffix.lower() != ".mp4" or out.is_dir():
        errors.append(f"--out {out}: allowed is a file whose name ends in .mp4")
    if seed < 0:
        errors.append(f"--seed is {seed}; allowed: whole numbers from 0")
    if device not in ("auto", "cpu", "cuda"):
        errors.append(f"--device is '{device}'. {known(device, ('auto', 'cpu', 'cuda'))}")
    if loop and end_image is not None:
        errors.append("--loop and --end-image exclude each other: a loop ends as it begins")
    if ends and detail != "first_and_last":
        errors.append(
            f"{'--loop' if loop else '--end-image'}: the model of profile {target.name} has visual detail "
            f"guidance '{detail}', which shows it one picture only; the released interpolation model has "
            "'first_and_last': --profile 512_interp --checkpoint FILE"
        )
    if detail == "first_and_last" and not ends:
        errors.append(
            f"the model of profile {target.name} goes from a first picture to a last one: give --end-image "
            "IMAGE or --loop"
        )
    if checkpoint is None and not target.trains:
        errors.append(f"--profile {target.name} has nothing to train on here: give --checkpoint FILE")
    if errors:
        raise UsageError(errors)


# Weights


def trained(profile: str, target: Target) -> Modules:
    """The full model of a profile at its first seed, out of the store; trained first where it is not there.

    Raises UsageError when weights that it starts from are missing, BenchError when a step failed.
    """
    options = Options(specs=(SPEC,), profile=profile)
    prepared = prepare(options)
    seed = prepared.plan.profile.seeds[0]
    step = prepared.plan.variants[SPEC.stem, VARIANT].training[seed][-1].step
    assert step is not None, "only a first stage ships as a file, and the full model has three"
    store = Store(options.store_folder)
    words = f"variant {VARIANT} of {SPEC.stem}, profile {target.name}, training seed {seed}"
    if not store.has(step.kind, step.fingerprint):
        graph = needed(step)
        absent = [f"{file.path}: there is no such file; {_ABSENT}" for file in graph.missing_files()]
        if absent:
            raise UsageError(absent)
        print(f"{words} is not in {store.root} yet: training it first, kept for the next time", flush=True)
        _train(prepared, graph, store)
    print(f"model: {words}, {step.kind} {step.fingerprint}")
    parts = _modules(target.model)
    load_module(parts.model, store.folder(step.kind, step.fingerprint) / FILE)
    _load_frozen(parts, target)
    return parts


def _train(prepared: Prepared, graph: Graph, store: Store) -> None:
    """Does the steps of a graph, as far as they are not done."""
    threads = prepared.plan.profile.execution.threads
    display = display_for(prepared.workers, quiet=False, log=None)
    engine = LocalEngine(store, prepared.workers, prepared.devices, threads, display)
    try:
        outcome = engine.run(graph)
    except Interrupted as stop:
        raise Interrupted(f"{stop}. Finished steps are kept: give the same command again to go on") from None
    if not outcome.complete:
        raise BenchError("\n".join(failures(list(graph), outcome)))


def needed(last: Step) -> Graph:
    """A step and everything that it stands on."""
    graph = Graph()

    def add(step: Step) -> None:
        for parent in step.parents:
            add(parent)
        graph.add(step)

    add(last)
    return graph


def from_checkpoint(path: Path, target: Target) -> Modules:
    """The modules of a user's file; nothing in it is executed.

    Raises ValueError, naming every entry that is missing, left over or misshapen, when it does not fit.
    """
    state = open_official(path)
    official = any(name.startswith(OFFICIAL_PARTS) for name in state.shapes)
    if not official and not any(name.startswith(OWN_PARTS) for name in state.shapes):
        raise ValueError(
            f"{path} is neither an official checkpoint nor a DynamiCrafter of this project; it holds "
            f"{', '.join(list(state.shapes)[:3])}, ..."
        )
    if official:
        parts = _official(path, state, target)
    elif target.frozen is None:
        raise ValueError(
            f"{path} holds a U-Net and a projector only; --profile {target.name} has no autoencoder and "
            "encoders of its own: give a checkpoint in the official layout, which holds them"
        )
    else:
        parts = _modules(target.model)
        load_state(parts.model, {name: state.get(name) for name in state.shapes}, str(path))
        _load_frozen(parts, target)
    layout = "official layout" if official else "layout of this project"
    print(f"model: {path}, {layout}, profile {target.name}, sha256 {FileHashes().sha256(path)}")
    return parts


def _official(path: Path, state: OfficialState, target: Target) -> Modules:
    """Everything out of an official checkpoint; shapes are compared before anything is built."""
    with torch.device("meta"):
        outline = _modules(target.model)
    misfits = problems(state.shapes, expected_entries(outline))
    if misfits and not check_official(state):
        learned = any(name.endswith(".alpha") for name in state.shapes)
        sizes = "256" if learned else "512, 1024 or 512_interp"
        raise ValueError(f"{path} is a released checkpoint of size {sizes}: say so with --profile")
    parts = outline if misfits else _modules(target.model)  # the next line names the misfits
    loaded = load_official(state, parts)
    if loaded.schedule_differs:
        tables = ", ".join(loaded.schedule_differs)
        print(f"note: {path} was trained with other tables ({tables}) than --profile {target.name} has")
    return parts


def _modules(config: ModelConfig) -> Modules:
    return Modules(
        DynamiCrafter(config),
        Autoencoder(config.autoencoder),
        TextEncoder(config.clip),
        ImageEncoder(config.clip),
    )


def _load_frozen(parts: Modules, target: Target) -> None:
    assert target.frozen is not None, "callers have seen to it"
    load_module(parts.autoencoder, target.frozen["vae"])
    path = target.frozen["clip"]
    state = load_tensors(path)
    for encoder in (parts.text_encoder, parts.image_encoder):
        load_state(encoder, encoder.weights_from(state), str(path))


def _pipeline(parts: Modules, target: Target) -> Pipeline:
    schedule = Schedule(target.model.diffusion)
    return Pipeline(parts.model, parts.autoencoder, parts.text_encoder, parts.image_encoder, schedule, target.sampler)


# Pictures and clips


def _picture(path: Path, config: ModelConfig) -> Frames:
    """A picture at the model's size (H, W, 3), and a line about what was done to it."""
    frame = read_image(path)
    height, width = frame.shape[:2]
    h, w = covering_size(height, width, config.height, config.width)
    resized = "" if (h, w) == (height, width) else f", resized to {w}x{h}"
    target = (config.height, config.width)
    cropped = "" if (h, w) == target else f", its centre {config.width}x{config.height} taken"
    print(f"{path}: {width}x{height}{resized}{cropped}")
    return fit_frame(frame, config.height, config.width)


def sample(
    pipeline: Pipeline,
    target: Target,
    pictures: Sequence[Frames],
    prompt: str,
    loop: bool,
    seed: int,
    device: str,
) -> Frames:
    """One clip (T, H, W, 3) from one or two pictures (H, W, 3); T is one less than the model's for a loop."""
    config = target.model
    first, *rest = [clip_pixels(np.array(p)[None, None])[:, :, 0].to(device) for p in pictures]
    last = first if loop else rest[0] if rest else None
    conditions = pipeline.conditions(first, [prompt], last)
    rng = generator(seed, "animate")
    shape = (1, conditions.latent.shape[1], config.frames, *conditions.latent.shape[3:])

    def draw(step: int = -1) -> Tensor:
        return normal(rng, shape).to(device)

    rate = None if target.fs is None else torch.tensor([target.fs], device=device)
    latents = pipeline.sample_latents(conditions, rate, draw(), draw, _reporter(target.sampler.steps))
    frames = to_uint8(pipeline.decode(latents))[0].cpu().numpy()
    return frames[:-1] if loop else frames


def _reporter(steps: int) -> Callable[[int, Tensor, Tensor], None]:
    """Says now and then how far slow sampling is."""
    said = time.monotonic()

    def on_step(step: int, x: Tensor, x0: Tensor) -> None:
        nonlocal said
        if time.monotonic() - said >= PLAIN_EVERY:
            said = time.monotonic()
            print(f"step {step + 1} of {steps}", file=sys.stderr, flush=True)

    return on_step


def _write(out: Path, frames: Frames) -> None:
    factor = max(1, -(-SHORT_SIDE // min(frames.shape[1:3])))
    shown = np.repeat(np.repeat(frames, factor, axis=1), factor, axis=2)
    replaced = ", replacing the file that was there" if out.exists() else ""
    write_video(out, shown)
    enlarged = f", every pixel shown as {factor}x{factor}" if factor > 1 else ""
    print(f"written: {_size(shown)}{enlarged}, {SHOWN_FPS} frames per second{replaced}")


def _size(frames: Frames) -> str:
    """ "8 frames of 32x32" """
    return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"
