"""Are two results different? Difference, interval and p-value per data set and metric: `python -m bench compare A B`.

With features in the store the two are compared video by video on the ids that both have, training seed by training
seed; with records alone values are set side by side. p is two-sided; Holm's correction runs over the whole table.
Source: `bench/metrics/uncertainty.py`; what may be compared: `bench/scoring/sides.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.metrics.features import Sample
from bench.metrics.judge import LEAST_SEEDS
from bench.metrics.uncertainty import METRICS, Estimate, TooFew, Units, estimate, holm, over_seeds
from bench.protocol import Scoring
from bench.scoring.sides import (
    Key,
    Side,
    mismatch,
    nothing_shared,
    pairs_of,
    reference_of,
    samples_of,
    sides_of,
    subset,
)
from bench.scoring.table import Row, lines
from datasets.files import one_line
from reports import words

ALPHA = 0.05
GONE = "features are not in the store: values alone, no interval"
UNKNOWN = "no interval is known for differences of this metric"


@dataclass(frozen=True)
class Difference:
    """One line of the table: A - B in the metric's own units; None where it could not be computed."""

    a: str
    b: str
    dataset: str
    metric: str
    features: str
    protocol: str
    value_a: float | None
    value_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float | None
    p: float | None
    n: int
    seeds: int
    p_holm: float | None = None
    better: str = ""  # 'A', 'B', or '' while undecided
    notes: tuple[str, ...] = ()


def compare(a: str, b: str, store: Path | None = None, protocols: Sequence[str] = ()) -> list[Difference]:
    """Every difference between two results. `a`, `b`: RUN, RUN:VARIANT or RUN:QUESTION.VARIANT.

    Raises UsageError when the two cannot be compared, saying which field differs and both its values.
    """
    found: list[Difference] = []
    errors: list[str] = []
    for one, two in pairs_of(sides_of(a, store), sides_of(b, store), a, b):
        keys = [key for key in one.records if key in two.records and (not protocols or key[1] in protocols)]
        errors += [line for key in keys for line in mismatch(one, two, key)]
        if not keys:
            errors.append(nothing_shared(one, two))
        elif not errors:
            found += [_difference(one, two, key) for key in keys]
    if errors:
        raise UsageError(list(dict.fromkeys(errors)))
    return _decided(found)


# ---- one line ----


def _difference(a: Side, b: Side, key: Key) -> Difference:
    """A line of the table; without features, or for a metric without influences, values alone."""
    dataset, protocol, metric, features = key
    heads = [side.records[key].get(None) or next(iter(side.records[key].values())) for side in (a, b)]
    values = [head.value for head in heads]
    apart = values[0] - values[1] if values[0] is not None and values[1] is not None else None
    notes = tuple(dict.fromkeys(f"{side.name} is not comparable" for side, r in zip((a, b), heads, strict=True)
                                if not r.comparable))  # fmt: skip
    plain = Difference(
        a.name, b.name, dataset, metric, features, protocol, values[0], values[1], apart, None, None, None, None,
        min(head.n for head in heads), 1, notes=notes,
    )  # fmt: skip
    samples = [samples_of(side, key) for side in (a, b)]
    if metric not in METRICS or not all(samples):
        return replace(plain, notes=(*notes, GONE if metric in METRICS else UNKNOWN))
    settings = {"name": protocol, "values": a.run.protocol_values(protocol)}
    return _tested(plain, samples[0], samples[1], reference_of(a, key), Scoring.read(settings))


def _tested(
    plain: Difference,
    a: Mapping[int | None, Sample],
    b: Mapping[int | None, Sample],
    reference: Sample | None,
    scoring: Scoring,
) -> Difference:
    """The line with its interval: seed by seed, video by video."""
    pairs, notes = _by_seed(a, b)
    pairs, reference, more = _on_shared(pairs, reference)
    notes = (*plain.notes, *notes, *more)
    counts = [{len(pair[k]) for pair in pairs} for k in (0, 1)]
    if plain.metric == "fvd" and counts[0] != counts[1]:
        told = " and ".join(str(min(count)) for count in counts)
        return replace(plain, notes=(*notes, f"FVD falls with the number of videos, here {told}: not tested"))
    real = reference if reference is not None else pairs[0][0]
    units = Units(*(one for pair in pairs for one in pair), real)

    def measured(sample: Sample) -> Estimate:
        return estimate(plain.metric, sample, real, units, scoring.settings)

    try:
        found = [(measured(x), measured(y)) for x, y in pairs]
    except TooFew as few:
        return replace(plain, notes=(*notes, str(few)))
    interval = over_seeds([x - y for x, y in found])
    above = interval.p_above
    return replace(
        plain,
        value_a=Estimate.mean([x for x, _ in found]).value,
        value_b=Estimate.mean([y for _, y in found]).value,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        level=interval.level if interval.low is not None else None,
        p=None if above is None else min(1.0, 2 * min(above, 1 - above)),
        n=min(min(count) for count in counts),
        seeds=len(pairs),
        notes=notes,
    )


def _by_seed(
    a: Mapping[int | None, Sample], b: Mapping[int | None, Sample]
) -> tuple[list[tuple[Sample, Sample]], tuple[str, ...]]:
    """Samples of the same training seed; one sample against several seeds stands beside each of them."""
    shared = [seed for seed in a if seed in b]
    if shared and set(a) == set(b):
        return [(a[seed], b[seed]) for seed in shared], _few(len(shared))
    if len(a) == len(b) == 1:
        return [(next(iter(a.values())), next(iter(b.values())))], _few(1)
    if len(a) == 1 or len(b) == 1:
        single, several = (a, b) if len(a) == 1 else (b, a)
        one = next(iter(single.values()))
        pairs = [(one, y) if single is a else (y, one) for y in several.values()]
        return pairs, (f"one set of clips against {len(several)} training seeds: its own seeds are not known",)
    pairs = [(a[seed], b[seed]) for seed in shared]
    if not pairs:
        raise UsageError(f"no training seed in common: {list(a)} and {list(b)}")
    return pairs, (f"compared on the {len(pairs)} training seeds that both have",)


def _few(seeds: int) -> tuple[str, ...]:
    """What an interval over few training seeds says nothing of."""
    if seeds >= LEAST_SEEDS:
        return ()
    what = "one set of clips each" if seeds == 1 else f"{seeds} training seeds"
    return (f"{what}: the interval covers other videos, not what other training seeds would give",)


def _on_shared(
    pairs: list[tuple[Sample, Sample]], reference: Sample | None
) -> tuple[list[tuple[Sample, Sample]], Sample | None, tuple[str, ...]]:
    """Both sides and the reference on the ids that both sides have, where they have ids in common."""
    sets = [set(one.ids) for pair in pairs for one in pair]
    shared = set.intersection(*sets)
    if not shared:
        return pairs, reference, ("no video in common: the two are compared as independent samples",)
    of_reference = reference is None or shared <= set(reference.ids)
    if not of_reference or all(one == shared for one in sets):
        return pairs, reference, ()
    ids = [name for name in pairs[0][0].ids if name in shared]
    kept = [(subset(x, ids), subset(y, ids)) for x, y in pairs]
    told = f"compared on the {len(ids)} videos that both have (of {max(map(len, sets))})"
    return kept, subset(reference, ids) if reference is not None else None, (told,)


def _decided(found: Sequence[Difference]) -> list[Difference]:
    """Holm's correction over the table, and who is better where that is decided."""
    adjusted = holm([one.p for one in found])
    return [replace(one, p_holm=p, better=_better(one, p)) for one, p in zip(found, adjusted, strict=True)]


def _better(one: Difference, p: float | None) -> str:
    lower = words.LOWER_IS_BETTER.get(one.metric)
    if p is None or p > ALPHA or lower is None or not one.difference:
        return ""
    return "A" if (one.difference < 0) == lower else "B"


# ---- printing ----


HEAD: Row = (
    *("A", "B", "dataset", "metric", "value A", "value B", "A - B", "95 % interval"),
    *("p", "p (Holm)", "n", "seeds", "better"),
)


def table(found: Sequence[Difference]) -> str:
    """The table as text; under it what it was scored by, and notes: those of all lines once."""
    protocols = dict.fromkeys(f"scored by {one.protocol}" for one in found)
    shared = [note for note in (found[0].notes if found else ()) if all(note in one.notes for one in found)]
    own = dict.fromkeys(
        f"{words.dataset_name(one.dataset)} {words.metric_name(one.metric)}: {note}"
        for one in found
        for note in one.notes
        if note not in shared
    )
    told = [f"  {one_line(line)}" for line in (*protocols, *shared, *own)]
    return "\n".join([*lines([HEAD, *(_row(one) for one in found)], right=(4, 5, 6, 8, 9, 10, 11)), *told])


def _row(one: Difference) -> Row:
    known_values = [value for value in (one.value_a, one.value_b, one.difference) if value is not None]
    widths = [(one.high - one.low) / 2] if one.low is not None and one.high is not None else []
    digits = words.places(known_values, widths)
    return (
        one.a,
        one.b,
        words.dataset_name(one.dataset),
        f"{words.metric_name(one.metric)} {words.arrow(one.metric)}".strip(),
        words.decimal(one.value_a, digits),
        words.decimal(one.value_b, digits),
        words.signed(one.difference, digits),
        words.bracket(one.low, one.high, digits) or "none",
        words.p_value(one.p),
        words.p_value(one.p_holm),
        str(one.n),
        str(one.seeds),
        one.better or "undecided",
    )


def to_json(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """The lines for another program."""
    return [{**asdict(one), "notes": list(one.notes)} for one in found]
