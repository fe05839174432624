"""Sizes, budgets and weights: a profile file, read strictly, with the command's options laid over it.

Units: sizes in pixels and frames, `steps` in optimiser steps, `costs` in CPU seconds of one core.
A profile's name is its file's stem; `--profile` takes a name in `ablations/profiles/` or a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.errors import UsageError, known
from bench.strict import Document, Strict, read, shown, validate
from bench.variants import Budget
from models.config import GuidanceKind, ModelConfig, SamplerConfig, Spacing

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "ablations" / "profiles"

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Caption = Literal["class_name", "first", "random", "none"]
Start = Literal["random", "first", "center"]
TooShort = Literal["set_aside", "loop", "nearest_stride"]
Precision = Literal["float32", "bf16", "fp16"]  # of a network's arithmetic on a GPU; a CPU computes in float32


class World(Strict):
    """How much of the procedural world is made: datasets.world.WorldConfig and its seed."""

    train_videos: Count
    ucf101_groups: Annotated[int, Field(ge=8, le=99)]  # of each class; the official splits need 8
    ucf101_clips: Annotated[int, Field(ge=1, le=99)]  # of each group
    msrvtt_videos: Annotated[int, Field(ge=1, le=2990)]
    min_frames: Count = 29
    max_frames: Count = 36
    seed: Whole = 0


class ClipSize(Strict):
    """What a clip is, in training and in evaluation."""

    frames: Count
    frame_stride: Count
    train_strides: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]
    height: Count
    width: Count


class TrainingSet(Strict):
    """Which clips are trained on."""

    clips_per_video: Count = 1
    count: Count | None = None
    start: Start = "random"
    too_short: TooShort = "set_aside"
    caption: Caption = "random"
    seed: Whole = 0


class Stream(Strict):
    """Training clips out of tar shards. `window`: videos of a lane that are shuffled among themselves, held in memory;
    there is a lane for each micro-batch of a step.
    """

    window: Count = 64


class EvaluationSet(Strict):
    """Which clips one evaluation set gives."""

    split: str | None = None
    caption: Caption
    start: Start = "random"
    too_short: TooShort = "set_aside"
    seed: Whole = 0


class Evaluation(Strict):
    """The two evaluation sets."""

    ucf101: EvaluationSet = EvaluationSet(caption="class_name")
    msrvtt: EvaluationSet = EvaluationSet(caption="first")


class StageSteps(Strict):
    """One training stage; what is not given is the value of `stages`."""

    steps: Count
    batch: Count | None = None
    micro_batch: Count | None = None
    learning_rate: Positive | None = None


class ShippedStage(StageSteps):
    """Stage i: may come with the profile as files."""

    ship: bool = False


class Stages(Strict):
    """Training. `micro_batch` has a fixed shape: it changes the last bits, `batch` the result."""

    i: ShippedStage
    ii: StageSteps
    iii: StageSteps
    batch: Count
    micro_batch: Count
    learning_rate: Positive
    warmup: Whole = 0
    final_rate: Fraction = 1.0  # share of the learning rate left at a stage's last step, reached linearly
    clip_norm: Positive = 1.0
    uncond_prob: Annotated[float, Field(ge=0, le=1 / 3)] = 0.05  # of each of three cases: see models/losses.py
    precision: Literal["float32", "bf16"] = "float32"  # fp16 would need its gradients rescaled
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the average weights that a stage then leaves
    sharding: Literal["none", "fsdp"] = "none"  # fsdp: weights, gradients and optimiser cut over torchrun's ranks
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: less memory, the same bits
    log_every: Count = 10
    checkpoint_every: Count = 50

    @model_validator(mode="after")
    def _fits(self) -> Stages:
        for stage in (self.i, self.ii, self.iii):
            batch, micro = stage.batch or self.batch, stage.micro_batch or self.micro_batch
            if batch % micro:
                raise ValueError(f"batch {batch} is not a multiple of micro_batch {micro}")
        return self

    @property
    def budget(self) -> Budget:
        """Steps of the three stages."""
        return Budget(self.i.steps, self.ii.steps, self.iii.steps)


class Sampling(Strict):
    """SamplerConfig, and how many clips are drawn between two saves (`batch`, which changes nothing else)."""

    steps: Count
    spacing: Spacing
    eta: Annotated[float, Field(ge=0, le=1)] = 1.0
    guidance: GuidanceKind
    text_scale: float = 7.5
    image_scale: float | None = None
    guidance_rescale: Fraction = 0.0
    batch: Count

    @model_validator(mode="after")
    def _fits(self) -> Sampling:
        if self.image_scale is not None and self.guidance != "two_scale":
            raise ValueError(f"image_scale has no effect: guidance is '{self.guidance}', not 'two_scale'")
        return self

    @property
    def config(self) -> SamplerConfig:
        """The sampler."""
        return SamplerConfig(**self.model_dump(exclude={"batch"}))


class Rate(Strict):
    """What the model is told of a clip's speed: its frame stride, or frames per second (the models of 512 and 1024).

    `evaluation`: "clip" is what the real clip has (its stride; floor(source fps / stride), as the official loader),
    a number is told for every clip. `animate`: for pictures, which have no speed; None: the model's own default.
    """

    evaluation: Literal["clip"] | Count = "clip"
    animate: Count | None = None


class Batches(Strict):
    """Fixed shapes of the other steps that run a network."""

    encode: Count = 32
    reconstruct: Count = 32
    features: Count = 32


class Execution(Strict):
    """How the machine is used. `threads` changes the last bits, `precision` more (on a GPU), `workers` nothing.

    `compile`: the U-Net is sampled from as compiled code (bench/compiled.py), on a GPU; changes the last bits.
    """

    threads: Count = 1
    workers: Count | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    precision: Precision = "float32"  # of encoding and sampling; training has its own
    compile: bool = False


class Costs(Strict):
    """Rough seconds of one unit on one core, or on the GPU that is named: order of work, the plan's hours, time left.

    `start`: of each step that loads a network, before its first unit; `worker`: of each worker process, once.
    `gpu` and `efficiency`: the GPU that the seconds are of and the share of its peak rate that networks reach on it.
    """

    gpu: str | None = None
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0
    dollars_per_gpu_hour: Positive | None = None
    start: Annotated[float, Field(ge=0)] = 0.25
    worker: Annotated[float, Field(ge=0)] = 3.0
    world_video: Positive = 0.006
    clip: Positive = 0.004
    encode_clip: Positive = 0.02
    decode_clip: Positive = 0.03
    train_image: Positive = 0.01
    train_clip: Positive = 0.05
    sample_evaluation: Positive = 0.012
    feature_clip: Positive = 0.007
    score: Positive = 0.1
    aggregate: Positive = 0.2
    claims: Positive = 0.1


class Profile(Strict):
    """Everything about a run that no question decides."""

    description: str
    world: World | None = None
    clip: ClipSize
    model: str
    features: Literal["tiny-i3d"] = "tiny-i3d"
    weights: dict[str, str]
    training: TrainingSet = TrainingSet()
    stream: Stream = Stream()
    evaluation: Evaluation = Evaluation()
    stages: Stages
    sampling: Sampling
    rate: Rate = Rate()
    batches: Batches = Batches()
    protocol: str
    samples: Annotated[int, Field(ge=2)]
    seeds: Annotated[tuple[Whole, ...], Field(strict=False, min_length=1)]
    previews: Whole = 8
    execution: Execution = Execution()
    costs: Costs = Costs()
    name: str = Field(default="", exclude=False)

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names a seed twice")
        return self


FROZEN = ("vae", "clip")  # what a released checkpoint holds beside the model
WEIGHTS = (  # roles that a profile may fill
    "t2i",
    "t2v",
    *FROZEN,
    "classifier",
    "perceptual",
    "dynamicrafter",
    "i3d",
    "dreamsim",
    "lpips",
    "stage_i_learned",
    "stage_i_fixed",
    "stage_i_global_token",
    "stage_i_one_stage",
    "stage_i_videocomposer",
    "stage_i_i2vgen_xl",
    "interpolation",
    "animation",
)
MEASURING = ("classifier", "perceptual")  # roles that --weights may not fill: a protocol names its networks
REQUIRED_WEIGHTS = ("t2i", "t2v", *FROZEN, *MEASURING)  # of a profile with a world; without one, MEASURING alone


def profile_path(name: str) -> Path:
    """The file of a profile given by name or path. Raises UsageError naming the known ones."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or "/" in name:
        if not path.is_file():
            raise UsageError(f"--profile {name}: there is no such file")
        return path
    found = PROFILES / f"{name}.yaml"
    if not found.is_file():
        raise UsageError(f"--profile {name}: {known(name, profile_names())}")
    return found


def profile_names() -> list[str]:
    """Names of the profiles that come with the project."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Reads and checks a profile. Raises UsageError with every error in it."""
    path = profile_path(name)
    document = read(path)
    profile = validate(document, Profile)
    _check_weights(document)
    if profile is not None:
        _check_model(document, profile)
    document.raise_errors()
    assert profile is not None
    return profile.model_copy(update={"name": path.stem})


def _check_weights(document: Document) -> None:
    weights = document.value.get("weights") if isinstance(document.value, Mapping) else None
    if not isinstance(weights, Mapping):
        return
    for role, path in weights.items():
        if role not in WEIGHTS:
            document.add(("weights", role), f"weights: unknown role '{role}'. {known(role, WEIGHTS)}")
        if isinstance(path, str) and ".." in Path(path).parts:
            document.add(("weights", role), f"weights.{role} is {shown(path)}: a path may not climb out with '..'")
    whole = document.value.get("world") is not None  # without a world the user gives the weights, as the data
    absent = [role for role in (REQUIRED_WEIGHTS if whole else MEASURING) if role not in weights]
    if absent:
        document.add(("weights",), f"weights: {', '.join(absent)} missing")


def _check_model(document: Document, profile: Profile) -> None:
    """The preset exists and makes clips of the profile's size."""
    names = model_names()
    if profile.model not in names:
        document.add(("model",), f"model is '{profile.model}'. {known(profile.model, names)}")
        return
    try:
        model, clip = model_preset(profile.model), profile.clip
    except ValueError as error:  # a preset that cannot be, as eps prediction with zero terminal SNR
        document.add(("model",), f"model '{profile.model}': {error}")
        return
    for key, of_clip, of_model in (
        ("frames", clip.frames, model.frames),
        ("height", clip.height, model.height),
        ("width", clip.width, model.width),
    ):
        if of_clip != of_model:
            document.add(("clip", key), f"clip.{key} is {of_clip}; the model '{profile.model}' makes {of_model}")


def model_names() -> list[str]:
    """Presets of models/presets.py that give a whole model."""
    from models import presets

    return [
        n
        for n, f in vars(presets).items()
        if callable(f) and not n.startswith(("_", "sampler")) and getattr(f, "__module__", "") == presets.__name__
    ]


def model_preset(name: str) -> ModelConfig:
    """The preset called `name`."""
    from models import presets

    model = getattr(presets, name)()
    assert isinstance(model, ModelConfig)
    return model


def override(
    profile: Profile,
    samples: int | None = None,
    seeds: Sequence[int] | None = None,
    device: str | None = None,
    workers: int | None = None,
) -> Profile:
    """The profile with the command's options. Raises UsageError for values that a profile could not have."""
    execution = {k: v for k, v in (("device", device), ("workers", workers)) if v is not None}
    changes: dict[str, Any] = {k: v for k, v in (("samples", samples), ("seeds", seeds)) if v is not None}
    if execution:
        changes["execution"] = profile.execution.model_copy(update=execution)
    errors = []
    if samples is not None and samples < 2:
        errors.append(f"--samples is {samples}; allowed: 2 or more")
    if seeds is not None and (not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds)):
        errors.append(f"--seeds is {','.join(map(str, seeds))}; allowed: different whole numbers from 0, as in 0,1,2")
    if device is not None and device not in {"auto", "cpu", "cuda"}:
        errors.append(f"--device is '{device}'. {known(device, ('auto', 'cpu', 'cuda'))}")
    if workers is not None and workers < 1:
        errors.append(f"--workers is {workers}; allowed: 1 or more")
    if errors:
        raise UsageError(errors)
    return profile.model_copy(update=changes)
