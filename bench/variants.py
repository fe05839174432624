"""What a variant's settings mean: which model, and which chain of training stages leads to it.

Pure functions of frozen dataclasses; nothing here imports torch.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3 (three stages), ablations of tables 3 and 4.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from models.config import (
    ENCODED_DETAIL,
    TEXT_STREAM_ALONE,
    ContextKind,
    DetailKind,
    DiffusionConfig,
    GuidanceKind,
    ImageScale,
    ModelConfig,
    Prediction,
    SamplerConfig,
)
from models.external.names import name_problem
from models.external.rules import Time, WhichSize

ConditionFrame = Literal["random", "first"]
Trainable = Literal["paper", "entire"]
TrainingSchedule = Literal["three_stage", "one_stage", "no_adaptation"]
Released = Literal["dynamicrafter"]  # a role of weights that holds a whole trained model
StageName = Literal["i", "ii", "iii", "i'"]
Prompt = Literal["caption", "none"]
Task = Literal["animate", "interpolate", "loop"]  # shown the first frame; the last one too; the first one as both
Captions = Literal["full", "undescribed", "motion", "motion_filtered"]  # what training clips are called

LATENT_CHANNELS = 4
ENDS: DetailKind = "first_and_last"  # visual detail guidance that is shown a last picture too


@dataclass(frozen=True)
class Settings:
    """What a variant of a spec can set; the defaults are the full model as the paper trains it.

    With `weights` the variant is that file's model at the profile's sizes, and is not trained. The fields of SAMPLING
    say how clips are drawn from the trained model: variants that differ in nothing else share all training.
    """

    weights: Released | None = None
    system: str | None = None  # another image-to-video system, sampled or scored as it is
    system_steps: float | None = None  # None: the system's own default
    system_size: WhichSize = "asked"
    system_time: Time = "as_made"
    task: Task = "animate"
    context: ContextKind = "full"
    visual_detail_guidance: DetailKind | None = None  # None: as the profile's model
    image_scale: ImageScale = "learned"
    condition_frame: ConditionFrame = "random"
    trainable: Trainable = "paper"
    schedule: TrainingSchedule = "three_stage"
    captions: Captions = "full"
    prediction: Prediction | None = None  # None: as the profile's model
    zero_terminal_snr: bool | None = None
    guidance: GuidanceKind | None = None  # None: as the profile's sampler, here and in the scales
    text_guidance_scale: float | None = None
    image_guidance_scale: float | None = None
    prompt: Prompt = "caption"
    lambda_ends: float = 1.0  # factors on the learned lambda, by group of layers: see models/lambda_layers.py
    lambda_middle: float = 1.0


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Named:
    """A name: what is wrong with one (None: nothing), and those that are known."""

    problem: Callable[[str], str | None]


@dataclass(frozen=True)
class Switch:
    """A key of a spec: the field of Settings that it sets, and its values (of a list, numbers of a range, or names)."""

    field: str
    allowed: tuple[Any, ...] | Range | Named


SCALE = Range(0.0, 50.0)
FACTOR = Range(0.0, 10.0)
SWITCHES: dict[str, Switch] = {
    "model.context": Switch("context", get_args(ContextKind)),
    "model.visual_detail_guidance": Switch("visual_detail_guidance", get_args(DetailKind)),
    "model.image_scale": Switch("image_scale", get_args(ImageScale)),
    "model.prediction": Switch("prediction", get_args(Prediction)),
    "model.zero_terminal_snr": Switch("zero_terminal_snr", (True, False)),
    "train.condition_frame": Switch("condition_frame", get_args(ConditionFrame)),
    "train.trainable": Switch("trainable", get_args(Trainable)),
    "train.schedule": Switch("schedule", get_args(TrainingSchedule)),
    "train.captions": Switch("captions", get_args(Captions)),
    "sampling.guidance": Switch("guidance", get_args(GuidanceKind)),
    "sampling.text_scale": Switch("text_guidance_scale", SCALE),
    "sampling.image_scale": Switch("image_guidance_scale", SCALE),
    "sampling.prompt": Switch("prompt", get_args(Prompt)),
    "sampling.lambda_ends": Switch("lambda_ends", FACTOR),
    "sampling.lambda_middle": Switch("lambda_middle", FACTOR),
    "task": Switch("task", get_args(Task)),
    "system": Switch("system", Named(name_problem)),
    "system.steps": Switch("system_steps", Range(1, 1000)),
    "system.size": Switch("system_size", get_args(WhichSize)),
    "system.time": Switch("system_time", get_args(Time)),
    "weights": Switch("weights", get_args(Released)),
}
KEYS: dict[str, str] = {key: switch.field for key, switch in SWITCHES.items()}
ALLOWED: dict[str, tuple[Any, ...]] = {k: s.allowed for k, s in SWITCHES.items() if isinstance(s.allowed, tuple)}
SAMPLING = tuple(switch.field for key, switch in SWITCHES.items() if key.startswith("sampling."))  # trains nothing


def settings_from(overrides: Mapping[str, Any]) -> Settings:
    """Settings of a variant from its dotted keys, whose values have been checked against `SWITCHES`."""
    ranges = {key for key, switch in SWITCHES.items() if isinstance(switch.allowed, Range)}
    values: dict[str, Any] = {KEYS[k]: float(value) if k in ranges else value for k, value in overrides.items()}
    return Settings(**values)


def as_trained(settings: Settings) -> Settings:
    """The settings that training sees: those of SAMPLING at their defaults."""
    return replace(settings, **{name: getattr(Settings(), name) for name in SAMPLING})


def impossible(
    settings: Settings, model: ModelConfig | None = None, sampler: SamplerConfig | None = None
) -> list[tuple[str, str]]:
    """Combinations that cannot be built: (key of the spec that is to blame, why and what to do).

    `model` and `sampler` are the profile's, for combinations that depend on them.
    """
    found = [*_of_released(settings), *_of_guidance(settings, sampler or SamplerConfig()), *_of_lambda(settings, model)]
    found += [*_of_system(settings), *_of_task(settings, model)]
    no_context = settings.context == "none"
    if settings.context in TEXT_STREAM_ALONE and settings.image_scale == "fixed":
        words = f"'fixed' has nothing to scale: model.context is {settings.context}. Leave one out"
        found.append(("model.image_scale", words))
    if no_context and settings.schedule != "three_stage":
        found.append(
            (
                "train.schedule",
                f"'{settings.schedule}' is about how the context projector is trained: model.context is "
                "none. Leave one out",
            )
        )
    if no_context and settings.visual_detail_guidance == "none" and settings.condition_frame == "first":
        found.append(
            (
                "train.condition_frame",
                "'first' has no effect: model.context and model.visual_detail_guidance are both none",
            )
        )
    try:
        _diffusion(settings, model.diffusion if model else DiffusionConfig())
    except ValueError as error:
        key = "model.zero_terminal_snr" if settings.zero_terminal_snr is not None else "model.prediction"
        found.append((key, str(error)))
    return found


def _of_released(settings: Settings) -> list[tuple[str, str]]:
    """A released model is what its file holds: nothing but its sampling can be set."""
    if settings.weights is None:
        return []
    plain = Settings(weights=settings.weights, task=settings.task)
    plain = replace(plain, **{name: getattr(settings, name) for name in SAMPLING})
    words = f"the variant is the model in the file --weights {settings.weights}=FILE and is not trained. Leave one out"
    return [(key, words) for key, name in KEYS.items() if getattr(settings, name) != getattr(plain, name)]


def _of_system(settings: Settings) -> list[tuple[str, str]]:
    """Another system is what it is: its steps, size and time can be chosen, and those of nothing else."""
    own = {key: name for key, name in KEYS.items() if key.partition(".")[0] == "system"}
    if settings.system is None:
        words = "is about another system: name one with system: NAME, or leave it out"
        return [(key, words) for key, name in own.items() if getattr(settings, name) != getattr(Settings(), name)]
    plain = replace(Settings(), **{name: getattr(settings, name) for name in own.values()})
    words = f"the variant is the system '{settings.system}', of which nothing is trained here. Leave one out"
    found = [(key, words) for key, name in KEYS.items() if getattr(settings, name) != getattr(plain, name)]
    steps = settings.system_steps
    return [*found, *([("system.steps", f"{steps:g} is no whole number")] if steps and steps % 1 else [])]


def _of_guidance(settings: Settings, sampler: SamplerConfig) -> list[tuple[str, str]]:
    """Scales and prompts that the kind of guidance never looks at."""
    kind, found = settings.guidance or sampler.guidance, []
    whose = f"sampling.guidance is '{kind}'" + ("" if settings.guidance else " in the profile")
    if settings.image_guidance_scale is not None and kind != "two_scale":
        words = f"has no effect: {whose}. Set sampling.guidance: two_scale, or leave it out"
        found.append(("sampling.image_scale", words))
    if settings.text_guidance_scale is not None and kind == "none":
        found.append(("sampling.text_scale", f"has no effect: {whose}. Leave one out"))
    if settings.text_guidance_scale is not None and kind == "two_scale" and settings.prompt == "none":
        words = "has no effect: without a prompt two-scale guidance asks about the image alone. Leave one out"
        found.append(("sampling.text_scale", words))
    return found


def _of_lambda(settings: Settings, model: ModelConfig | None) -> list[tuple[str, str]]:
    """Factors on a lambda that is not there."""
    scaled = [key for key in ("lambda_ends", "lambda_middle") if getattr(settings, key) != 1.0]
    if settings.weights is not None:
        learned = model is None or model.unet.image_stream == "learned"
        why = "the image stream of the profile's model has no learned lambda"
    else:
        blind = settings.context in TEXT_STREAM_ALONE
        learned = not blind and settings.image_scale == "learned"
        why = f"model.context is {settings.context}" if blind else "model.image_scale is fixed"
    return [] if learned else [(f"sampling.{key}", f"there is no learned lambda to scale: {why}") for key in scaled]


def _of_task(settings: Settings, model: ModelConfig | None) -> list[tuple[str, str]]:
    """A clip between two pictures, from a model that is shown one."""
    if settings.task == "animate":
        return []
    own = settings.weights is not None and model is not None
    detail = model.visual_detail_guidance if own and model else settings.visual_detail_guidance or ENDS
    if detail == ENDS:
        return []
    whose = "the profile's model has" if own else "the variant has"
    return [("task", f"'{settings.task}' shows the model two pictures: {whose} model.visual_detail_guidance {detail}; "
             f"wanted {ENDS}")]


def sampler_of(settings: Settings, base: SamplerConfig) -> SamplerConfig:
    """The profile's sampler with the variant's changes; another kind of guidance drops the profile's image scale."""
    kind = settings.guidance or base.guidance
    text, image = settings.text_guidance_scale, settings.image_guidance_scale
    kept = base.image_scale if kind == "two_scale" else None
    return replace(
        base,
        guidance=kind,
        text_scale=base.text_scale if text is None else text,
        image_scale=kept if image is None else image,
    )


def lambda_factors(settings: Settings) -> dict[str, float]:
    """Factors other than 1, by group of layers, as `models.lambda_layers.scale_lambda` takes them."""
    factors = {"ends": settings.lambda_ends, "middle": settings.lambda_middle}
    return {group: factor for group, factor in factors.items() if factor != 1.0}


def _diffusion(settings: Settings, base: DiffusionConfig) -> DiffusionConfig:
    zero = settings.zero_terminal_snr
    return replace(
        base,
        prediction=settings.prediction or base.prediction,
        zero_terminal_snr=base.zero_terminal_snr if zero is None else zero,
    )


@cache
def resolve(base: ModelConfig, settings: Settings) -> ModelConfig:
    """The variant's whole model: the profile's model with the variant's switches, which a released model has none
    of. Raises ValueError if impossible.
    """
    for key, words in impossible(as_trained(settings), base):
        raise ValueError(f"{key}: {words}")
    if settings.weights is not None:
        return base
    shown = base.visual_detail_guidance if settings.task == "animate" else ENDS
    detail = settings.visual_detail_guidance or shown
    unet = replace(
        base.unet,
        in_channels=LATENT_CHANNELS if detail == "none" else 2 * LATENT_CHANNELS,
        image_stream="none" if settings.context in TEXT_STREAM_ALONE else settings.image_scale,
    )
    return replace(
        base,
        unet=unet,
        context=settings.context,
        visual_detail_guidance=detail,
        diffusion=_diffusion(settings, base.diffusion),
    )


@dataclass(frozen=True)
class Budget:
    """Optimiser steps of the three stages."""

    i: int
    ii: int
    iii: int


@dataclass(frozen=True)
class Stage:
    """One training phase.

    Args:
        name: "i", "ii", "iii"; "i'" is stage i done on the video model (the one-stage schedule).
        model: the model as it is in this phase.
        images: trained on single frames (T = 1), with the text-to-image half of the network.
        groups: names of `DynamiCrafter.parameter_groups()` that are trained.
        condition_frame: which frame of the training clip is the condition.
        steps: optimiser steps.
        parent: where the weights come from; "previous" is the phase before.
        adopts: what stage i trained is put into the parent's weights.
        shipped: the name under which a profile may ship this phase's result (None: it never is).
    """

    name: StageName
    model: ModelConfig
    images: bool
    groups: tuple[str, ...]
    condition_frame: ConditionFrame
    steps: int
    parent: Literal["t2i", "t2v", "previous"]
    adopts: bool = False
    shipped: str | None = None


def text_to_image(model: ModelConfig) -> ModelConfig:
    """The model of stage i: one frame, no temporal layers, frame rate or detail guidance; the image stream
    stays.

    The projector has the queries of one frame; the video model gets them once per frame.
    """
    unet = replace(
        model.unet,
        in_channels=LATENT_CHANNELS,
        temporal_conv=False,
        temporal_attention=False,
        init_attention=False,
        fps_condition=False,
    )
    projector = replace(model.projector, frames=1)
    return replace(model, unet=unet, projector=projector, frames=1, visual_detail_guidance="none")


def without_detail(model: ModelConfig) -> ModelConfig:
    """The model of stage ii: the video model before `conv_in` is widened."""
    unet = replace(model.unet, in_channels=LATENT_CHANNELS)
    return replace(model, unet=unet, visual_detail_guidance="none")


@cache
def chain(base: ModelConfig, settings: Settings, budget: Budget) -> tuple[Stage, ...]:
    """The training phases of a variant, in order; none for a released model."""
    model = resolve(base, settings)
    if settings.weights is not None:
        return ()
    new = _new_groups(model)
    adapted = (*new, "spatial", "conv_in")
    shown = (*adapted, "detail") if model.visual_detail_guidance in ENCODED_DETAIL else adapted
    last = (*shown, "temporal") if settings.trainable == "entire" else shown
    frame = settings.condition_frame
    early, late = budget.i, budget.ii + budget.iii
    shipped = _shipped(settings)
    on_images = Stage("i", text_to_image(model), True, new, "random", early, "t2i", shipped=shipped)
    on_clips = Stage("i'", without_detail(model), False, new, frame, early, "t2v", shipped=shipped)
    first = on_clips if settings.schedule == "one_stage" else on_images
    start = () if settings.context == "none" else (first,)
    adopts = bool(start)
    if settings.schedule == "no_adaptation":
        return (*start, Stage("iii", model, False, last, frame, late, "t2v", adopts))
    plain_video = without_detail(model)
    return (
        *start,
        Stage("ii", plain_video, False, adapted, frame, budget.ii, "t2v", adopts),
        Stage("iii", model, False, last, frame, budget.iii, "previous"),
    )


def _new_groups(model: ModelConfig) -> tuple[str, ...]:
    """Parameters that the text-to-video parent does not have."""
    if model.context == "none":
        return ()
    stream = {"none": (), "fixed": ("image_stream",), "learned": ("image_stream", "lambda")}
    return ("projector", *stream[model.unet.image_stream])


def _shipped(settings: Settings) -> str | None:
    """The shipped stage i that fits: it depends on the context and lambda alone."""
    if settings.prediction is not None or settings.zero_terminal_snr is not None:
        return None
    if settings.schedule == "one_stage":
        plain = replace(as_trained(settings), schedule="three_stage", visual_detail_guidance=None, captions="full")
        default = plain == Settings()
        return "one_stage" if default else None
    names = {
        ("full", "learned"): "learned",
        ("full", "fixed"): "fixed",
        ("global_token", "learned"): "global_token",
        ("beside_text", "learned"): "videocomposer",  # there is no lambda: its setting is the default
        ("hierarchical", "learned"): "i2vgen_xl",
    }
    return names.get((settings.context, settings.image_scale))


@cache
def model_to_json(model: ModelConfig) -> dict[str, Any]:
    """A model's config as nested JSON values (shared between callers: do not change it)."""
    return typing.cast(dict[str, Any], config_to_json(model))


def config_to_json(config: Any) -> Any:
    """A frozen dataclass as JSON values: tuples become lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: config_to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return [config_to_json(v) for v in config] if isinstance(config, tuple | list) else config


def model_from_json(values: Mapping[str, Any]) -> ModelConfig:
    """The inverse of `model_to_json`; raises ValueError naming unknown or missing keys."""
    return typing.cast(ModelConfig, config_from_json(ModelConfig, values))


def config_from_json(kind: type, values: Mapping[str, Any]) -> Any:
    """A frozen dataclass from JSON values, strict: every field and no other."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if set(fields) != set(values):
        raise ValueError(
            f"{kind.__name__}: unknown keys {sorted(set(values) - set(fields))}, "
            f"missing keys {sorted(set(fields) - set(values))}"
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _field_from_json(hints[name], value) for name, value in values.items()})


def _field_from_json(hint: Any, value: Any) -> Any:
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return config_from_json(typing.cast(type, option), value)
    return tuple(value) if isinstance(value, list) else value
