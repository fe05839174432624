"""Which two results stand against each other, and may they? Variants of runs by name, their stored features.

Compared are only numbers of one protocol (every field equal), of the same networks and the same real clips; what
differs is named with both its values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UsageError, known
from bench.metrics.features import Sample, read_sample
from bench.scoring.gather import NETWORKS
from bench.scoring.runs import StoredRun, open_run
from reports.record import Record

Key = tuple[str, str, str, str]  # dataset, protocol, metric, features


@dataclass(frozen=True)
class Side:
    """One variant of one run: its records by data set, protocol, metric and features, then by seed."""

    run: StoredRun
    question: str
    variant: str
    label: str
    records: Mapping[Key, Mapping[int | None, Record]]

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"{self.run.name}:{self.variant}"

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for a variant that several questions share: the same name, the same numbers."""
        steps = [sorted(r.fingerprints.items()) for series in self.records.values() for r in series.values()]
        return self.variant, json.dumps(sorted(map(str, steps)))


# ---- which two ----


def sides_of(given: str, store: Path | None) -> list[Side]:
    """What `RUN`, `RUN:VARIANT` or `RUN:QUESTION.VARIANT` names: a side for each variant that fits.

    Raises UsageError where there is no such run, or no such variant in it.
    """
    folder, _, selector = (given, "", "") if Path(given).is_dir() else given.rpartition(":")
    run = open_run(Path(folder), store)
    by_variant: dict[tuple[str, str], dict[Key, dict[int | None, Record]]] = {}
    labels: dict[tuple[str, str], str] = {}
    for r in run.records:
        if not selector and r.role != "variant":
            continue
        series = by_variant.setdefault((r.question, r.variant), {})
        series.setdefault((r.dataset, r.protocol, r.metric, r.features), {})[r.seed] = r
        labels[r.question, r.variant] = r.label
    wanted = [name for name in by_variant if selector in ("", name[1], ".".join(name))]
    if not wanted:
        names = dict.fromkeys(name[1] for name in by_variant)
        raise UsageError(f"{given}: there is no variant '{selector}'. {known(selector, list(names))}")
    sides = [Side(run, *name, labels[name], by_variant[name]) for name in wanted]
    return list({one.identity: one for one in reversed(sides)}.values())[::-1]


def pairs_of(a: list[Side], b: list[Side], name_a: str, name_b: str) -> list[tuple[Side, Side]]:
    """One against one; several against several by question and variant of equal name, then by variant alone."""
    if len(a) == 1 and len(b) == 1:
        return [(a[0], b[0])]
    by_name = {(side.question, side.variant): side for side in b}
    by_variant = {side.variant: side for side in b}
    pairs = [(one, by_name.get((one.question, one.variant)) or by_variant.get(one.variant)) for one in a]
    found = [(one, two) for one, two in pairs if two is not None]
    if not found:
        have = [", ".join(f"{side.question}.{side.variant}" for side in sides) for sides in (a, b)]
        which = f"{a[0].run.folder}:{a[0].question}.{a[0].variant}"
        raise UsageError(f"{name_a} is {have[0]}; {name_b} is {have[1]}: say which, as in {which}")
    return found


# ---- may they be compared ----


def nothing_shared(a: Side, b: Side) -> str:
    """Why two sides have no line in common: what each was scored by."""
    names = [list(dict.fromkeys(key[1] for key in side.records)) for side in (a, b)]
    if not set(names[0]) & set(names[1]):
        fields_a, fields_b = (a.run.protocol_values(names[0][0]), b.run.protocol_values(names[1][0]))
        differ = _differing(fields_a, fields_b)
        return f"{a.name} is scored by {', '.join(names[0])}, {b.name} by {', '.join(names[1])}: {'; '.join(differ)}"
    have = [", ".join(dict.fromkeys(f"{k[0]} {k[2]} ({k[3]})" for k in side.records)) for side in (a, b)]
    return (
        f"{a.name} and {b.name} have no number of the same data set, metric and features: {have[0]} against {have[1]}"
    )


def mismatch(a: Side, b: Side, key: Key) -> list[str]:
    """What forbids a comparison under one key, in sentences."""
    dataset, protocol = key[:2]
    differ = _differing(a.run.protocol_values(protocol), b.run.protocol_values(protocol))
    if differ:
        return [f"{a.name} and {b.name} were scored by different protocols of the name {protocol}: {'; '.join(differ)}"]
    prints = [next(iter(side.records[key].values())).fingerprints for side in (a, b)]
    other = [
        role for role in NETWORKS if role in prints[0] and role in prints[1] and prints[0][role] != prints[1][role]
    ]
    if other:
        told = [f"{role} {prints[0][role][:12]} and {prints[1][role][:12]}" for role in other]
        return [f"{a.name} and {b.name} were measured by different networks: {'; '.join(told)}"]
    real = [reference_of(side, key) for side in (a, b)]
    if real[0] is not None and real[1] is not None and not _equal(real[0], real[1]):
        return [
            f"{a.name} and {b.name} were compared with different real videos of {dataset}: {len(real[0])} and "
            f"{len(real[1])}, of which {len(set(real[0].ids) & set(real[1].ids))} have the same id"
        ]
    return []


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """'size is [32, 32] and [256, 256]', for each field."""
    names = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    return [f"{name} is {_shown(a, name)} and {_shown(b, name)}" for name in names]


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "not there"


def _equal(a: Sample, b: Sample) -> bool:
    return a.ids == b.ids and bool(np.array_equal(a.features, b.features))


# ---- features ----


def _seeds_of(side: Side, key: Key) -> dict[int | None, Record]:
    """Records of single seeds; where there are none, the one of all."""
    own = side.records[key]
    return {seed: r for seed, r in sorted(own.items(), key=_order) if seed is not None} or dict(own)


def _order(entry: tuple[int | None, Record]) -> int:
    return -1 if entry[0] is None else entry[0]


def samples_of(side: Side, key: Key) -> dict[int | None, Sample]:
    """Stored features by seed; empty when any is gone."""
    found = {}
    for seed, record in _seeds_of(side, key).items():
        features, _ = side.run.features_of(record)
        folder = side.run.artifact(features.get(seed))
        if folder is None:
            return {}
        found[seed] = read_sample(folder)
    return found


def reference_of(side: Side, key: Key) -> Sample | None:
    _, reference = side.run.features_of(next(iter(_seeds_of(side, key).values())))
    folder = side.run.artifact(reference)
    return read_sample(folder) if folder is not None else None


def subset(sample: Sample, ids: Sequence[str]) -> Sample:
    """The rows of a sample that have these ids, in their order. Raises KeyError for an id that is not there."""
    place = {name: row for row, name in enumerate(sample.ids)}
    rows = [place[name] for name in ids]

    def chosen(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: chosen(one) for name, one in value.items()}
        if isinstance(value, np.ndarray):
            return value[rows] if len(value) == len(sample) else value
        return tuple(value[row] for row in rows) if isinstance(value, tuple) and len(value) == len(sample) else value

    return replace(sample, **{f.name: chosen(getattr(sample, f.name)) for f in fields(sample)})
