"""One question per YAML file: what is asked, of which variants, and what the paper claims; read strictly.

`samples` and `seeds` keep a question of many variants affordable: at most so many clips of each data set, and only so
many of the run's training seeds. A profile (or command) that asks for fewer keeps its own numbers.
A question's name is its file's stem. Every error of every file is reported at once, before any work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.errors import UsageError, cut, known
from bench.metrics.directions import MEASURES, directed
from bench.strict import Document, Strict, dotted, read, shown, validate
from bench.variants import SWITCHES, Named, Range, Settings, impossible, settings_from
from models.config import ModelConfig, SamplerConfig

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

Words = Annotated[str, Field(min_length=1)]
_OfProfile = tuple[ModelConfig | None, SamplerConfig | None]


Order = Annotated[tuple[str, ...], Field(strict=False, min_length=2)]


class Claim(Strict):
    """A sentence to be tested. It orders variants, in one of two ways.

    source: "ours" for a sentence that is not the paper's.
    better: best first, in the metric's own direction, where it has one (bench/metrics/directions.py). larger: the
    largest value first, for any metric.
    """

    claim: Words
    metric: str
    better: Order | None = None
    larger: Order | None = None
    source: Literal["paper", "ours"] = "paper"

    @model_validator(mode="after")
    def _one_order(self) -> Claim:
        if (self.better is None) == (self.larger is None):
            came = "neither came" if self.better is None else "both came"
            raise ValueError(f"one of better (best first) and larger (largest value first) is wanted; {came}")
        if self.better is not None and self.metric in MEASURES and not directed(self.metric):
            raise ValueError(f"better: no value of {self.metric} is better than another; write larger: [...]")
        return self

    @property
    def order(self) -> tuple[str, ...]:
        """The variants, as `better` or `larger` lists them."""
        return self.better or self.larger or ()

    def to_json(self) -> dict[str, Any]:
        """As the step `claims` takes it: the keys that say something."""
        return self.model_dump(mode="json", exclude_defaults=True)


class _File(Strict):
    """The keys of a spec; `variants` is checked by hand, key by key."""

    question: Words
    source: Words
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    expect: Annotated[tuple[Claim, ...], Field(strict=False)] = ()
    samples: Annotated[int, Field(ge=2)] | None = None
    seeds: Annotated[int, Field(ge=1)] | None = None


@dataclass(frozen=True)
class Variant:
    """One row of a table: its name, how tables call it, what it changes, and what that means."""

    name: str
    label: str
    overrides: tuple[tuple[str, Any], ...]
    settings: Settings


@dataclass(frozen=True)
class Question:
    """A spec that has been checked."""

    name: str
    path: Path
    question: str
    source: str
    variants: tuple[Variant, ...]
    expect: tuple[Claim, ...]
    samples: int | None = None  # at most so many clips of each data set; None: as many as the profile has
    seeds: int | None = None  # at most so many training seeds, the first of the profile's

    def to_json(self) -> dict[str, Any]:
        """As `spec.json` lists it."""
        caps = {"samples": self.samples, "seeds": self.seeds}
        return {
            "question": self.question,
            "source": self.source,
            "variants": {v.name: {"label": v.label, "overrides": dict(v.overrides)} for v in self.variants},
            "expect": [c.to_json() for c in self.expect],
            **{key: cap for key, cap in caps.items() if cap is not None},
        }


def load_questions(
    paths: Sequence[Path], model: ModelConfig | None = None, sampler: SamplerConfig | None = None
) -> list[Question]:
    """Reads and checks specs; `model` and `sampler` are the profile's, for combinations that depend on them.

    Raises UsageError with every error of every file.
    """
    questions, errors = [], []
    for path in paths:
        try:
            questions.append(load_question(path, model, sampler))
        except UsageError as error:
            errors += error.messages
    errors += _twice(paths)
    if errors:
        raise UsageError(errors)
    return questions


def _twice(paths: Sequence[Path]) -> list[str]:
    seen: dict[str, Path] = {}
    errors = []
    for path in paths:
        if path.stem in seen:
            errors.append(
                f"{path}: a question named '{path.stem}' is given already: {seen[path.stem]}. "
                "A question is named by its file: rename one"
            )
        seen.setdefault(path.stem, path)
    return errors


def load_question(path: Path, model: ModelConfig | None = None, sampler: SamplerConfig | None = None) -> Question:
    """Reads and checks one spec. Raises UsageError with every error in it."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file{_nearby(path)}")
    document = read(path)
    file = validate(document, _File)
    raw = document.value.get("variants") if isinstance(document.value, Mapping) else None
    variants = _variants(document, raw, (model, sampler)) if isinstance(raw, Mapping) else ()
    if not NAME.fullmatch(path.stem):
        document.add((), f"the file's name is the question's name; allowed: letters, digits, _: '{path.stem}'")
    claims = document.value.get("expect") if isinstance(document.value, Mapping) else None
    if isinstance(raw, Mapping) and isinstance(claims, list):
        _check_claims(document, claims, list(raw))
    document.raise_errors()
    assert file is not None
    return Question(path.stem, path, file.question, file.source, variants, file.expect, file.samples, file.seeds)


def _nearby(path: Path) -> str:
    names = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f". {known(path.name, names)}" if names else ""


def _variants(document: Document, raw: Mapping[str, Any], profile: _OfProfile) -> tuple[Variant, ...]:
    return tuple(v for name, keys in raw.items() if (v := _variant(document, name, keys, profile)))


def _variant(document: Document, name: str, keys: Any, profile: _OfProfile) -> Variant | None:
    at = ("variants", name)
    if not NAME.fullmatch(name):
        document.add(at, f"{dotted(at)}: a variant's name has letters, digits and _ only")
    if not isinstance(keys, Mapping):
        return None  # said by the file's own check
    label = keys.get("label", name)
    if not isinstance(label, str) or not label:
        document.add((*at, "label"), f"{dotted((*at, 'label'))} is {shown(label)}: allowed is text")
    overrides = {k: v for k, v in keys.items() if k != "label"}
    before = len(document.errors)
    for key, value in overrides.items():
        _check_setting(document, (*at, key), key, value)
    if len(document.errors) > before or document.errors:
        return None
    settings = settings_from(overrides)
    for key, words in impossible(settings, *profile):
        document.add((*at, key), f"{dotted((*at, key))}: {words}")
    return Variant(name, label, tuple(overrides.items()), settings)


def _check_setting(document: Document, at: tuple[str, ...], key: str, value: Any) -> None:
    if key not in SWITCHES:
        document.add(at, f"{dotted(at[:-1])}: unknown key '{cut(key)}'. {known(key, ['label', *SWITCHES])}")
        return
    allowed = SWITCHES[key].allowed
    if isinstance(allowed, Named):
        problem = allowed.problem(value) if isinstance(value, str) else "allowed is a name"
        if problem:
            document.add(at, f"{dotted(at)} is {shown(value)}. {problem}")
        return
    if isinstance(allowed, Range):
        number = type(value) in (int, float)  # true and false are none
        if not number or not allowed.low <= value <= allowed.high:
            words = f"allowed is a number, {allowed.low:g} to {allowed.high:g}"
            document.add(at, f"{dotted(at)} is {shown(value)}: {words}")
        return
    if not any(value == option and type(value) is type(option) for option in allowed):
        names = ["true" if a is True else "false" if a is False else str(a) for a in allowed]
        document.add(at, f"{dotted(at)} is {shown(value)}. {known(value, names)}")


def _check_claims(document: Document, claims: Sequence[Any], variants: list[str]) -> None:
    for k, claim in enumerate(claims):
        metric = claim.get("metric") if isinstance(claim, Mapping) else None
        if isinstance(metric, str) and metric not in MEASURES:
            at = ("expect", k, "metric")
            document.add(at, f"{dotted(at)} is {shown(metric)}. {known(metric, MEASURES)}")
        for key in ("better", "larger"):
            given = claim.get(key) if isinstance(claim, Mapping) else None
            _check_order(document, ("expect", k, key), given if isinstance(given, list) else [], variants)


def _check_order(document: Document, where: tuple[str | int, ...], order: Sequence[Any], variants: list[str]) -> None:
    for j, name in enumerate(order):
        at = (*where, j)
        if name not in variants:
            document.add(at, f"{dotted(at)}: unknown variant {shown(name)}. {known(name, variants)}")
        elif name in order[:j]:
            document.add(at, f"{dotted(at)}: {shown(name)} is named twice")
