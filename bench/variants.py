"""What a variant's settings mean: which model, and which chain of training stages leads to it.

Pure functions of frozen dataclasses; nothing here imports torch.
Source: DynamiCrafter, arXiv:2310.12190, section 3.3 (three stages), ablations of tables 3 and 4.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from models.config import ContextKind, DetailKind, DiffusionConfig, ImageScale, ModelConfig, Prediction

ConditionFrame = Literal["random", "first"]
Trainable = Literal["paper", "entire"]
TrainingSchedule = Literal["three_stage", "one_stage", "no_adaptation"]
Released = Literal["dynamicrafter"]  # a role of weights that holds a whole trained model
StageName = Literal["i", "ii", "iii", "i'"]

LATENT_CHANNELS = 4


@dataclass(frozen=True)
class Settings:
    """What a variant of a spec can set; the defaults are the full model as the paper trains it.

    With `weights` the variant is that file's model at the profile's sizes, and is not trained.
    """

    weights: Released | None = None
    context: ContextKind = "full"
    visual_detail_guidance: DetailKind | None = None  # None: as the profile's model
    image_scale: ImageScale = "learned"
    condition_frame: ConditionFrame = "random"
    trainable: Trainable = "paper"
    schedule: TrainingSchedule = "three_stage"
    prediction: Prediction | None = None  # None: as the profile's model
    zero_terminal_snr: bool | None = None


KEYS: dict[str, str] = {  # key in a spec -> field of Settings
    "model.context": "context",
    "model.visual_detail_guidance": "visual_detail_guidance",
    "model.image_scale": "image_scale",
    "model.prediction": "prediction",
    "model.zero_terminal_snr": "zero_terminal_snr",
    "train.condition_frame": "condition_frame",
    "train.trainable": "trainable",
    "train.schedule": "schedule",
    "weights": "weights",
}
ALLOWED: dict[str, tuple[Any, ...]] = {  # key in a spec -> values
    "model.context": get_args(ContextKind),
    "model.visual_detail_guidance": get_args(DetailKind),
    "model.image_scale": get_args(ImageScale),
    "model.prediction": get_args(Prediction),
    "model.zero_terminal_snr": (True, False),
    "train.condition_frame": get_args(ConditionFrame),
    "train.trainable": get_args(Trainable),
    "train.schedule": get_args(TrainingSchedule),
    "weights": get_args(Released),
}


def settings_from(overrides: Mapping[str, Any]) -> Settings:
    """Settings of a variant from its dotted keys, whose values have been checked against `ALLOWED`."""
    return Settings(**{KEYS[key]: value for key, value in overrides.items()})


def impossible(settings: Settings, model: ModelConfig | None = None) -> list[tuple[str, str]]:
    """Combinations that cannot be built: (key of the spec that is to blame, why and what to do)."""
    found = _of_released(settings)
    no_context = settings.context == "none"
    if no_context and settings.image_scale == "fixed":
        found.append(("model.image_scale", "'fixed' has nothing to scale: model.context is none. Leave one out"))
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
    """A released model is what its file holds: nothing about it can be set."""
    if settings.weights is None:
        return []
    plain = Settings(weights=settings.weights)
    words = f"the variant is the model in the file --weights {settings.weights}=FILE and is not trained. Leave one out"
    return [(key, words) for key, name in KEYS.items() if getattr(settings, name) != getattr(plain, name)]


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
    for key, words in impossible(settings, base):
        raise ValueError(f"{key}: {words}")
    if settings.weights is not None:
        return base
    detail = settings.visual_detail_guidance or base.visual_detail_guidance
    unet = replace(
        base.unet,
        in_channels=LATENT_CHANNELS if detail == "none" else 2 * LATENT_CHANNELS,
        image_stream="none" if settings.context == "none" else settings.image_scale,
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
    last = (*adapted, "temporal") if settings.trainable == "entire" else adapted
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
    return (
        ("projector", "image_stream", "lambda")
        if model.unet.image_stream == "learned"
        else ("projector", "image_stream")
    )


def _shipped(settings: Settings) -> str | None:
    """The shipped stage i that fits: it depends on the context and lambda alone."""
    if settings.prediction is not None or settings.zero_terminal_snr is not None:
        return None
    if settings.schedule == "one_stage":
        default = replace(settings, schedule="three_stage", visual_detail_guidance=None) == Settings()
        return "one_stage" if default else None
    names = {
        ("full", "learned"): "learned",
        ("full", "fixed"): "fixed",
        ("global_token", "learned"): "global_token",
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
