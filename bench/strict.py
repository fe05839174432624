"""YAML that means what it says, and errors that name file, line, what came and what is allowed.

Read strictly: no duplicate keys, aliases, tags, words that YAML 1.1 takes for booleans, or numbers it takes
for text. Every error of a file is collected before any is raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from bench.errors import MAX_SHOWN, UsageError, cut, known, one_line

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_DIGITS = 18  # of a whole number

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BARE_EXPONENT = re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?[0-9]*\.[0-9]*[eE][0-9]+")
_READ_AS = {"int": "another number", "float": "a special number", "timestamp": "a date"}
COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = tuple[str | int, ...]


class Strict(BaseModel):
    """Base of everything read from a file: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=False)


Model = TypeVar("Model", bound=Strict)


@dataclass
class Document:
    """A parsed file: plain values, the line of every key and list item, and what was wrong with the YAML
    itself.
    """

    path: Path
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    errors: list[tuple[int, str]] = field(default_factory=list)

    def line(self, location: Location) -> int:
        """The line of a location, or of the nearest one around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def add(self, location: Location, words: str) -> None:
        """Notes an error at a location."""
        self.errors.append((self.line(location), words))

    def messages(self) -> list[str]:
        """All errors as `file:line: words`, in the order of the file."""
        return [f"{self.path}:{line}: {one_line(words)}" for line, words in sorted(set(self.errors))]

    def raise_errors(self) -> None:
        """Raises UsageError with everything found so far, if anything was."""
        if self.errors:
            raise UsageError(self.messages())


def read(path: Path) -> Document:
    """Parses a YAML file strictly. Errors are in the document; raises UsageError when there is nothing to go
    on with.
    """
    document = Document(path)
    text = _text(path)
    try:
        _bounds(document, text)
        document.raise_errors()
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        words = one_line(str(error.problem or error.context))
        raise UsageError(f"{path}:{line}: not valid YAML: {words}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}:1: not valid YAML: {one_line(str(error).splitlines()[0])}") from None
    if node is None:
        raise UsageError(f"{path}:1: the file is empty")
    document.lines[()] = node.start_mark.line + 1
    document.value = _value(document, node, ())
    return document


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"{path}:1: the file has {size} bytes; allowed: at most {MAX_BYTES}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}:1: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _bounds(document: Document, text: str) -> None:
    """Walks the events, which needs no recursion: refuses aliases, deep nesting and several documents."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = _line(event)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            document.errors.append((line, "anchors (&) and aliases (*) are not allowed: write the value out"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or documents > 1:
            words = "more than one document" if documents > 1 else f"nested deeper than {MAX_DEPTH} levels"
            document.errors.append((line, words))
            return


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _value(document: Document, node: yaml.Node, at: Location) -> Any:
    if isinstance(node, yaml.CollectionNode) and node.tag not in COLLECTIONS:
        return _refuse(document, at, f"has the tag {shown(node.tag)}; tags are not allowed")
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, at)
    if isinstance(node, yaml.SequenceNode):
        values = []
        for k, item in enumerate(node.value):
            document.lines[(*at, k)] = item.start_mark.line + 1
            values.append(_value(document, item, (*at, k)))
        return values
    return _scalar(document, node, at)


def _mapping(document: Document, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.errors.append((line, f"{dotted(at)}: a key must be a word"))
            continue
        key = key_node.value
        if key in values:
            first = document.lines[(*at, key)]
            document.errors.append((line, f"{dotted((*at, key))} is given twice (first in line {first})"))
            continue
        document.lines[(*at, key)] = line
        values[key] = _value(document, value_node, (*at, key))
    return values


def _scalar(document: Document, node: Any, at: Location) -> Any:
    """A scalar by the rules of YAML 1.2, refusing what 1.1 reads differently."""
    text, kind = node.value, node.tag.rpartition(":")[2]
    if kind not in {"str", "int", "float", "bool", "null", "timestamp"}:
        return _refuse(document, at, f"has the tag {shown(node.tag)}; tags are not allowed")
    if node.style in {"'", '"', "|", ">"} or kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool":
        if text in {"true", "false"}:
            return text == "true"
        return _refuse(
            document, at, f"is the word {text}, a boolean in YAML: write true or false, or quote it '{text}'"
        )
    if kind == "int" and _INT.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if kind in {"int", "float"} and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
        return _refuse(document, at, f"is {shown(text)}: too large a number")
    return _refuse(
        document,
        at,
        f"is {shown(text)}, which YAML reads as {_READ_AS[kind]}: write a plain decimal number, or quote it",
    )


def _refuse(document: Document, at: Location, words: str) -> None:
    document.add(at, f"{dotted(at)} {words}")


def dotted(location: Location) -> str:
    """("variants", "full", "train.schedule") -> variants.full.train.schedule; list items in brackets."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{cut(part)}" if text else cut(part)
    return text or "the file"


def shown(value: object) -> str:
    """A wrong value as a message repeats it: quoted, cut."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def validate(document: Document, model: type[Model], context: Any = None) -> Model | None:
    """The document as `model`, or None with the errors added to it."""
    if not isinstance(document.value, Mapping):
        document.add((), f"a mapping of keys is expected, {shown(document.value)} came")
        return None
    try:
        return model.model_validate(document.value, context=context)
    except ValidationError as failure:
        refused = {line for line, _ in document.errors}
        for error in failure.errors(include_url=False):
            where = tuple(error["loc"])
            if document.line(where) in refused and error.get("input") is None:
                continue  # the value was refused while reading: said already
            document.add(where, words(error, model))
        return None


def words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """A validation error in our words: where, what came, what is allowed."""
    where, kind, context = tuple(error["loc"]), error["type"], error.get("ctx", {})
    name, came = dotted(where), error.get("input")
    if kind == "extra_forbidden":
        keys = keys_of(model, where[:-1])
        return f"{dotted(where[:-1])}: unknown key {shown(where[-1])}. {known(where[-1], keys)}"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "literal_error":
        return f"{name} is {shown(came)}. {known(came, _options(context))}"
    if isinstance(came, str) and _BARE_EXPONENT.fullmatch(came) and kind in {"float_type", "int_type"}:
        return f"{name} is the text {shown(came)}: YAML reads it as a number only with a dot, as 1.0e-4"
    if kind in {"value_error", "assertion_error"}:
        return f"{name}: {context.get('error', error['msg'])}"
    return f"{name} is {shown(came)}: {_plain(error)}"


def _options(context: Mapping[str, Any]) -> list[str]:
    """The allowed values out of pydantic's "'a', 'b' or 'c'"."""
    return [a or b for a, b in re.findall(r"'([^']*)'|(\w+)(?=,| or |$)", str(context.get("expected", "")))]


def _plain(error: ErrorDetails) -> str:
    message = error["msg"].replace("Input should be", "allowed is")
    for technical, plain in (
        ("valid integer", "whole number"),
        ("valid string", "text"),
        ("valid list", "list"),
        ("valid tuple", "list"),
        ("valid boolean", "true or false"),
        ("valid number", "number"),
        ("a dictionary", "a mapping of keys"),
    ):
        message = message.replace(technical, plain)
    return re.sub(r"a valid dictionary or instance of \w+", "a mapping of keys", message)


def keys_of(model: type[BaseModel], where: Sequence[str | int]) -> list[str]:
    """The keys that are allowed at a place inside a model."""
    current: Any = model
    for part in where:
        current = _inside(current, part)
    return _names(current)


def _inside(kind: Any, part: str | int) -> Any:
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            for name, info in option.model_fields.items():
                if part in (name, info.alias):
                    return info.annotation
        arguments = getattr(option, "__args__", ())
        if arguments:
            return arguments[-1] if not isinstance(part, int) else arguments[0]
    return None


def _alternatives(kind: Any) -> Iterable[Any]:
    import types
    import typing

    return kind.__args__ if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _names(kind: Any) -> list[str]:
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return [info.alias or name for name, info in option.model_fields.items()]
    return []
