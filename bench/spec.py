"""One question per YAML file: what is asked, of which variants, and what the paper claims; read strictly.

A question's name is its file's stem. Every error of every file is reported at once, before any work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bench.errors import UsageError, cut, known
from bench.strict import Document, Strict, dotted, read, shown, validate
from bench.variants import ALLOWED, Settings, impossible, settings_from
from models.config import ModelConfig

METRICS = ("fvd", "kvd", "pic")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

Words = Annotated[str, Field(min_length=1)]


class Claim(Strict):
    """A claim of the paper: `better` lists variants best first, in the metric's own direction."""

    claim: Words
    metric: Literal["fvd", "kvd", "pic"]
    better: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]


class _File(Strict):
    """The keys of a spec; `variants` is checked by hand, key by key."""

    question: Words
    source: Words
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    expect: Annotated[tuple[Claim, ...], Field(strict=False)] = ()


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

    def to_json(self) -> dict[str, Any]:
        """As `spec.json` lists it."""
        return {
            "question": self.question,
            "source": self.source,
            "variants": {v.name: {"label": v.label, "overrides": dict(v.overrides)} for v in self.variants},
            "expect": [c.model_dump(mode="json") for c in self.expect],
        }


def load_questions(paths: Sequence[Path], model: ModelConfig | None = None) -> list[Question]:
    """Reads and checks specs; `model` is the profile's, for combinations that depend on it.

    Raises UsageError with every error of every file.
    """
    questions, errors = [], []
    for path in paths:
        try:
            questions.append(load_question(path, model))
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


def load_question(path: Path, model: ModelConfig | None = None) -> Question:
    """Reads and checks one spec. Raises UsageError with every error in it."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file{_nearby(path)}")
    document = read(path)
    file = validate(document, _File)
    raw = document.value.get("variants") if isinstance(document.value, Mapping) else None
    variants = _variants(document, raw, model) if isinstance(raw, Mapping) else ()
    if not NAME.fullmatch(path.stem):
        document.add((), f"the file's name is the question's name; allowed: letters, digits, _: '{path.stem}'")
    claims = document.value.get("expect") if isinstance(document.value, Mapping) else None
    if isinstance(raw, Mapping) and isinstance(claims, list):
        _check_claims(document, claims, list(raw))
    document.raise_errors()
    assert file is not None
    return Question(path.stem, path, file.question, file.source, variants, file.expect)


def _nearby(path: Path) -> str:
    names = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f". {known(path.name, names)}" if names else ""


def _variants(document: Document, raw: Mapping[str, Any], model: ModelConfig | None) -> tuple[Variant, ...]:
    return tuple(v for name, keys in raw.items() if (v := _variant(document, name, keys, model)))


def _variant(document: Document, name: str, keys: Any, model: ModelConfig | None) -> Variant | None:
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
    for key, words in impossible(settings, model):
        document.add((*at, key), f"{dotted((*at, key))}: {words}")
    return Variant(name, label, tuple(overrides.items()), settings)


def _check_setting(document: Document, at: tuple[str, ...], key: str, value: Any) -> None:
    if key not in ALLOWED:
        document.add(at, f"{dotted(at[:-1])}: unknown key '{cut(key)}'. {known(key, ['label', *ALLOWED])}")
        return
    allowed = ALLOWED[key]
    if not any(value == option and type(value) is type(option) for option in allowed):
        names = ["true" if a is True else "false" if a is False else str(a) for a in allowed]
        document.add(at, f"{dotted(at)} is {shown(value)}. {known(value, names)}")


def _check_claims(document: Document, claims: Sequence[Any], variants: list[str]) -> None:
    for k, claim in enumerate(claims):
        given = claim.get("better") if isinstance(claim, Mapping) else None
        better = given if isinstance(given, list) else []
        for j, name in enumerate(better):
            at = ("expect", k, "better", j)
            if name not in variants:
                document.add(at, f"{dotted(at)}: unknown variant {shown(name)}. {known(name, variants)}")
            elif name in better[:j]:
                document.add(at, f"{dotted(at)}: {shown(name)} is named twice")
