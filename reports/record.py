"""What is one result? The record: all that the bench writes and the reports read, one JSON line each.

A record is deterministic: the same run gives the same bytes. Seconds, memory, host, versions and device
are not in it; they live in `costs.jsonl` and `environment.json`. Standard library only: cheap to read.
Source: DESIGN.md section 5; keys documented one by one as in lm-evaluation-harness `result_schema.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Annotated, get_type_hints

SCHEMA_VERSION = 1

ROLES = ("variant", "baseline")
WORLDS = ("tiny", "real")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One number: a metric of one variant's clips against one reference set, with its interval.

    Per (question, variant, dataset, metric) there is a record per training seed and one with `seed` null, the
    mean over the seeds. Raises ValueError, naming the key, what came and what is allowed.
    """

    schema: Annotated[int, "version of this schema; other versions are refused"]
    question: Annotated[str, "file name of the spec without .yaml; 'score' for videos from outside"]
    variant: Annotated[str, "name of the variant in the spec, or of the baseline"]
    label: Annotated[str, "how tables call the variant, as in the paper: 'w/o ctx'"]
    role: Annotated[str, "'variant' (a model) or 'baseline' (made from real clips, no model)"]
    dataset: Annotated[str, "evaluation set: 'ucf101', 'msrvtt', 'folder', ..."]
    seed: Annotated[int | None, "training seed >= 0; null: the mean over all seeds"]
    metric: Annotated[str, "lower case: 'fvd', 'kvd' (lower is better), 'pic' (higher is better), ..."]
    features: Annotated[str, "network behind the number: 'tiny-i3d', 'i3d-k400', 'dreamsim', ..."]
    protocol: Annotated[str, "name and version of the protocol: 'tiny/v1'; its fields are in spec.json"]
    world: Annotated[str, "'tiny' (the procedural world) or 'real' (camera footage, the user's folders)"]
    value: Annotated[float | None, "the number; null when it could not be computed: notes say why"]
    low: Annotated[float | None, "lower end of the interval; null when none could be given"]
    high: Annotated[float | None, "upper end of the interval; null when none could be given"]
    level: Annotated[float | None, "coverage asked of the interval, in (0, 1): 0.95; null without one"]
    interval: Annotated[str, "what the interval covers and how it was made; empty without one"]
    n: Annotated[int, "videos scored (of one seed), >= 0"]
    comparable: Annotated[bool, "false when the protocol's required count was not reached; see notes"]
    notes: Annotated[tuple[str, ...], "sentences for the reader: what was odd, missing or set aside"]
    fingerprints: Annotated[Mapping[str, str], "role -> lower-case hex: the inputs the number depends on"]

    def __post_init__(self) -> None:
        if self.schema != SCHEMA_VERSION:
            raise ValueError(f"record: schema is {self.schema!r}; this version reads {SCHEMA_VERSION} only")
        _texts(self, "question", "variant", "label", "dataset", "features", "protocol")
        _one_of("role", self.role, ROLES)
        _one_of("world", self.world, WORLDS)
        if not isinstance(self.metric, str) or not _NAME.fullmatch(self.metric):
            raise ValueError(f"record: metric is {self.metric!r}; allowed: lower-case letters, digits and _")
        if self.seed is not None:
            _count("seed", self.seed)
        _count("n", self.n)
        for name in ("value", "low", "high", "level"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        self._check_interval()
        if not isinstance(self.comparable, bool):
            raise ValueError(f"record: comparable is {self.comparable!r}; allowed: true, false")
        object.__setattr__(self, "notes", _strings("notes", self.notes))
        object.__setattr__(self, "fingerprints", _hex_map("fingerprints", self.fingerprints))

    def _check_interval(self) -> None:
        present = [value is not None for value in (self.low, self.high, self.level)]
        if len(set(present)) > 1:
            raise ValueError("record: low, high and level are given together or are all null")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"record: low {self.low} is above high {self.high}")
        if self.level is not None and not 0 < self.level < 1:
            raise ValueError(f"record: level is {self.level}; allowed: between 0 and 1")
        if not isinstance(self.interval, str) or bool(self.interval) != (self.level is not None):
            allowed = "words when low, high and level are given, else empty"
            raise ValueError(f"record: interval is {self.interval!r}; allowed: {allowed}")

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, keys as documented."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"notes": list(self.notes), "fingerprints": dict(self.fingerprints)}


DOCUMENTATION: dict[str, str] = {
    key: hint.__metadata__[0] for key, hint in get_type_hints(Record, include_extras=True).items()
}


def from_dict(data: Mapping[str, object], where: str = "record") -> Record:
    """Strict reading: ValueError names `where`, each unknown and missing key, a schema of another version."""
    if data.get("schema") != SCHEMA_VERSION:
        came = data.get("schema")
        raise ValueError(
            f"{where}: schema is {came!r}; this version reads {SCHEMA_VERSION} only. Another version of the bench "
            "wrote it: rebuild the report with that one, or give the command of the run again"
        )
    check_keys(data, tuple(DOCUMENTATION), where)
    try:
        return Record(**data)  # type: ignore[arg-type]  # __post_init__ checks every type
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def to_line(record: Record) -> str:
    """One line of records.jsonl, without the newline: sorted keys, shortest round-trip floats, UTF-8 text."""
    return json.dumps(record.to_dict(), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def from_line(line: str, where: str = "record") -> Record:
    """Inverse of `to_line`; `where` ("records.jsonl:12") opens every error message."""
    try:
        data = json.loads(line, parse_constant=refuse_constant, object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise ValueError(f"{where}: not a JSON line: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{where}: a {type(data).__name__} came; a JSON object is expected")
    return from_dict(data, where)


def check_keys(data: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    """Exactly the known keys, else ValueError naming each unknown (with the nearest) and missing one."""
    unknown = [f"unknown key {key!r}{_nearest(key, known)}" for key in data if key not in known]
    missing = [f"missing key {key!r}" for key in known if key not in data]
    if unknown or missing:
        raise ValueError(f"{where}: {'; '.join(unknown + missing)}")


def _nearest(key: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(str(key), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def refuse_constant(name: str) -> float:
    """For `json.loads(parse_constant=...)`: NaN and Infinity are no JSON; ValueError."""
    raise ValueError(f"{name} is not a number of JSON; null with a note is how a missing value is written")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"key given twice: {', '.join(twice)}")
    return dict(pairs)


def _texts(record: Record, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, str) or not value:
            raise ValueError(f"record: {name} is {value!r}; allowed: text that is not empty")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"record: {name} is {value!r}; allowed: {', '.join(allowed)}")


def _count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"record: {name} is {value!r}; allowed: a whole number >= 0")


def _number(name: str, value: object) -> float | None:
    """Finite float or None; whole numbers turn float, -0.0 becomes 0.0, so that equals print equally."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"record: {name} is {value!r}; allowed: a finite number, or null")
    return float(value) + 0.0


def _strings(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"record: {name} is {value!r}; allowed: a list of sentences")
    return tuple(value)


def _hex_map(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"record: {name} is {value!r}; allowed: an object, role -> hex")
    for role, digest in value.items():
        if not isinstance(role, str) or not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise ValueError(f"record: {name}.{role} is {digest!r}; allowed: lower-case hex digits")
    return dict(sorted(value.items()))
