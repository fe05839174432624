"""How large are the effects that the claims speak of? A small plot for each verdict, and all of them as one figure.

Right of zero speaks for the sentence. The claims of one metric and unit share an axis; what lies beyond it is an
arrow. Source: claims.jsonl of the run folder.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports import words
from reports.charts import Figure, Mark, Panel, Scale, bulk
from reports.figures import ROW, short
from reports.load import Claim, Run
from reports.spreadsheet import csv_text

HEAD = (
    "question",
    "claim",
    "metric",
    "dataset",
    "better",
    "larger",
    "source",
    "effect",
    "low",
    "high",
    "level",
    "p",
    "p_holm",
    "verdict",
    "n",
    "seeds",
    "unit",
    "detectable",
    "detectable_alone",
    "protocol",
    "per_seed",
    "notes",
)


def forest(claims: Sequence[Claim], claim: Claim) -> Panel:
    """One claim's effect with its axis, the one that all claims of its metric share."""
    width, height, y = 220.0, 46.0, 15.0
    peers = [c for c in claims if (c.metric, c.unit) == (claim.metric, claim.unit)]
    reach = _reach(peers)[1]
    scale = Scale(-reach, reach, 8, width - 8)
    said = f"effect {words.decimal(claim.effect, 4)} {words.bracket(claim.low, claim.high, 4)} {claim.unit}"
    marks = [Mark("rule", "zero", scale(0), 1, scale(0), 27), *_effect_marks(claim, y, scale, said)]
    inner = next(kept for count in (3, 5, 9) if len(kept := _inside(scale.ticks(count), width)) > 2 or count == 9)
    ticks = [*inner[:-1], *((at, f"{label} {claim.unit}") for at, label in inner[-1:])]
    room = (8.0, 2.0, width - 8, 28.0)
    name = f"{claim.claim}: {said}"
    return Panel("", name, width, height, *room, "", "", tuple(ticks), (), tuple(marks))


def _inside(ticks: Sequence[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """Ticks whose labels fit in the panel."""
    return [(at, label) for at, label in ticks if 16 < at < width - 28]


def _reach(claims: Sequence[Claim]) -> tuple[float, float]:
    """A range symmetric about zero that most of the claims fit in."""
    groups = [[v for v in (c.effect, c.low, c.high, *c.per_seed) if v is not None] for c in claims]
    low, high = bulk([[abs(value) for value in group] for group in groups], times=1.5)
    reach = max(abs(low), abs(high)) * 1.08 or 1.0
    return -reach, reach


def _effect_marks(claim: Claim, y: float, scale: Scale, said: str) -> list[Mark]:
    """Interval, effect and seeds of a claim; an arrow at the edge when the effect is beyond the axis."""
    css = f"v-{claim.verdict.replace(' ', '-')}"
    if claim.effect is None:
        return []
    if not scale.low <= claim.effect <= scale.high:
        side, at = (-1, scale.start) if claim.effect < scale.low else (1, scale.stop)
        back = at - side * 7
        head = f"{at:g},{y:g} {back:g},{y - 4.5:g} {back:g},{y + 4.5:g}"
        return [
            Mark("arrow", css, points=head, words=said),
            Mark("segment", css, back, y, back - side * 8, y, words=said),
        ]
    marks = []
    if claim.low is not None and claim.high is not None:
        ends = [scale(min(max(end, scale.low), scale.high)) for end in (claim.low, claim.high)]
        marks.append(Mark("segment", css, ends[0], y, ends[1], y, words=said))
    marks += [
        Mark("dot", css + " seed", scale(value), y - 8, r=1.8, words=f"a seed: {value:g}")
        for value in claim.per_seed
        if scale.low <= value <= scale.high
    ]
    return [*marks, Mark("dot", css, scale(claim.effect), y, r=3.6, words=said)]


def forest_figure(run: Run) -> Figure | None:
    """All effects, a panel per metric: the claims table as one picture, for Markdown and for downloading."""
    metrics = list(dict.fromkeys((c.metric, c.unit) for c in run.own_claims))
    panels = tuple(_forest_panel([c for c in run.own_claims if (c.metric, c.unit) == key], key) for key in metrics)
    caption = "Effect of each claim with its interval; right of zero speaks for the sentence, left against it."
    data = csv_text(HEAD, map(_row, run.claims))
    return Figure("claims", "Effects of the claims", caption, panels, data) if panels else None


def _row(claim: Claim) -> tuple[object, ...]:
    joined = {
        "better": " > ".join(claim.better),
        "larger": " > ".join(claim.larger),
        "per_seed": " ".join(map(repr, claim.per_seed)),
        "notes": " ".join(claim.notes),
    }
    return tuple(joined.get(key, getattr(claim, key)) for key in HEAD)


def _forest_panel(claims: Sequence[Claim], key: tuple[str, str]) -> Panel:
    left, top, right = 380.0, 26.0, 700.0
    bottom = top + ROW * len(claims) + 4
    scale = Scale(*_reach(claims), left, right)
    marks = [Mark("rule", "zero", scale(0), top, scale(0), bottom)]
    ticks = []
    for place, claim in enumerate(claims):
        y = top + ROW * (place + 0.5) + 2
        ticks.append((y, f"{short(claim.claim)} ({words.dataset_name(claim.dataset)})"))
        marks += _effect_marks(claim, y, scale, claim.verdict)
        marks.append(Mark("text", "note", right + 8, y + 4, words=f"{words.SIGNS[claim.verdict]} {claim.verdict}"))
    name = f"{words.metric_name(key[0])}, effect in favour of the claim"
    return Panel(
        name,
        name,
        right + 92,
        bottom + 34,
        left,
        top,
        right,
        bottom,
        x_label=f"effect, {key[1] or 'in the metric’s unit'}",
        x_ticks=scale.ticks(),
        y_ticks=tuple(ticks),
        marks=tuple(marks),
    )
