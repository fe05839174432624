"""How far does one set of videos move by dialect alone? A line per variant and metric, a column per protocol.

Shapes: a table for each data set and metric; values of different feature networks stand in different tables, for
they are different quantities. Ratios are of the largest to the smallest value that is above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from bench.scoring.table import Row, lines
from reports import words
from reports.record import Record

Place = tuple[str, str, str]  # dataset, metric, features
LEAST = 1e-3  # of a value: nearer ones have no order


def dialect_table(records: Sequence[Record], claims: Sequence[Mapping[str, Any]] = ()) -> str:
    """Tables of what was scored under two protocols or more, means over seeds; then verdicts by protocol.

    Empty when nothing was.
    """
    heads = _heads(records)
    by_place: dict[Place, list[Record]] = {}
    for r in heads:
        by_place.setdefault((r.dataset, r.metric, r.features), []).append(r)
    several = {place: own for place, own in by_place.items() if len({r.protocol for r in own}) > 1}
    scored = {(r.protocol, r.metric) for own in several.values() for r in own}
    parts = [*(_of_place(place, own) for place, own in several.items()), _verdicts(claims, scored)]
    return "\n\n".join(part for part in parts if part)


def _heads(records: Sequence[Record]) -> list[Record]:
    """One record for each variant, data set, metric, features and protocol: the mean over seeds where there is one."""
    found: dict[tuple[str, ...], Record] = {}
    for r in records:
        key = (r.question, r.variant, r.dataset, r.metric, r.features, r.protocol)
        if key not in found or r.seed is None:
            found[key] = r
    return list(found.values())


def _of_place(place: Place, records: Sequence[Record]) -> str:
    protocols = list(dict.fromkeys(r.protocol for r in records))
    by_row: dict[tuple[str, str], dict[str, Record]] = {}
    for r in records:
        by_row.setdefault((r.label, r.role), {})[r.protocol] = r
    values = [r.value for r in records if r.value is not None]
    digits = words.places(values, [(r.high - r.low) / 2 for r in records if r.low is not None and r.high is not None])
    title = f"{words.dataset_name(place[0])}, {words.metric_name(place[1])} {words.arrow(place[1])} ({place[2]})"
    rows: list[Row] = [("", *protocols, "largest / smallest")]
    for (label, _), own in by_row.items():
        cells = [words.decimal(own[p].value, digits) if p in own else words.DASH for p in protocols]
        rows.append((label, *cells, _ratio([own[p].value for p in protocols if p in own])))
    told = [title, *lines(rows, right=range(1, len(rows[0])))]
    return "\n".join([*told, *_orders(by_row, protocols)])


def _ratio(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None and value > 0]
    return f"{max(known) / min(known):.2f}" if len(known) > 1 and len(known) == len(values) else words.DASH


def _orders(by_row: Mapping[tuple[str, str], Mapping[str, Record]], protocols: Sequence[str]) -> list[str]:
    """Which protocols put the variants in another order than the first does."""
    variants = {label: own for (label, role), own in by_row.items() if role == "variant"}
    if len(variants) < 2:
        return []
    changed = []
    for protocol in protocols[1:]:
        other = [
            f"{a} / {b}"
            for a, b in combinations(variants, 2)
            if _swapped(variants[a], variants[b], protocols[0], protocol)
        ]
        if other:
            changed.append(f"{protocol} turns round the order of {', '.join(other)}")
    return changed or ["the order of the variants is the same under every protocol"] if len(protocols) > 1 else []


def _swapped(a: Mapping[str, Record], b: Mapping[str, Record], first: str, other: str) -> bool:
    """Whether two protocols disagree on which is larger, by more than a thousandth of the values under either."""
    values = [one[p].value if p in one else None for p in (first, other) for one in (a, b)]
    known = [value for value in values if value is not None]
    if len(known) < 4:
        return False
    apart = [known[0] - known[1], known[2] - known[3]]
    clear = all(abs(gap) > LEAST * max(map(abs, known[k : k + 2])) for gap, k in zip(apart, (0, 2), strict=True))
    return clear and apart[0] * apart[1] < 0


def _verdicts(claims: Sequence[Mapping[str, Any]], scored: set[tuple[str, str]]) -> str:
    """A line for each claim and data set, a column per protocol; a dash where a protocol does not score the metric."""
    told = [claim for claim in claims if (str(claim["protocol"]), str(claim["metric"])) in scored]
    protocols = list(dict.fromkeys(str(claim["protocol"]) for claim in told))
    if len(protocols) < 2:
        return ""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for claim in told:
        key = (str(claim["claim"]), str(claim["metric"]), str(claim["dataset"]))
        rows.setdefault(key, {})[str(claim["protocol"])] = str(claim["verdict"])
    head: Row = ("verdict on", "metric", "dataset", *protocols)
    body = [
        (claim, words.metric_name(metric), words.dataset_name(dataset), *(own.get(p, words.DASH) for p in protocols))
        for (claim, metric, dataset), own in rows.items()
    ]
    return "\n".join(lines([head, *body]))
