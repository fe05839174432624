"""What did people say? The tally of a blind study as a table in the paper's layout, and as a figure.

`study.json` of the run folder is written by `python -m bench study tally ANSWERS... --key key.json --out RUN`.
Ours and the paper's are different videos and other raters: two tables, never one. Source: the user study of
arXiv:2310.12190: pick the best of all (a row sums to 100 %), or judge each on its own (it need not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import words
from reports.charts import Figure, Mark, Panel, Scale
from reports.figures import ROW, WIDTH, colours, label_room, short
from reports.load import Json, Run, items, mapping, number, text
from reports.spreadsheet import csv_text

HEAD = (
    "criterion",
    "kind",
    "asked",
    "system",
    "run",
    "variant",
    "percent",
    "low",
    "high",
    "level",
    "votes",
    "of",
    "alpha",
)


@dataclass(frozen=True)
class Share:
    """A system's percentage in one question, with its interval; `best` when the interval is above all others'."""

    percent: float | None
    low: float | None
    high: float | None
    votes: int
    of: int
    best: bool = False

    @property
    def value(self) -> str:
        """'41.7'."""
        return words.decimal(self.percent, 1)

    @property
    def interval(self) -> str:
        """'[30.2, 54.1]'."""
        return words.bracket(self.low, self.high, 1)


@dataclass(frozen=True)
class Asked:
    """One question of the study: what people saw asked, how they answered, and how far they agreed."""

    criterion: str
    label: str
    kind: str
    asked: str
    shares: tuple[Share, ...]  # one per system
    alpha: float | None
    agreement: str  # in words


@dataclass(frozen=True)
class UserStudy:
    """A tally: systems are the columns, questions the rows."""

    systems: tuple[str, ...]
    variants: tuple[str, ...]
    runs: tuple[str, ...]
    worlds: tuple[str, ...]
    asked: tuple[Asked, ...]
    level: float | None
    words: tuple[str, ...]  # raters, items, intervals, who was set aside


def user_study(run: Run) -> UserStudy | None:
    """From study.json; None without one."""
    if not run.study:
        return None
    systems = [mapping(system) for system in items(run.study.get("systems"))]
    return UserStudy(
        systems=tuple(text(s.get("label")) for s in systems),
        variants=tuple(text(s.get("variant")) for s in systems),
        runs=tuple(text(s.get("run")) for s in systems),
        worlds=tuple(dict.fromkeys(text(s.get("world")) for s in systems)),
        asked=tuple(_asked(mapping(row), len(systems)) for row in items(run.study.get("questions"))),
        level=number(run.study.get("level")),
        words=tuple(map(text, items(run.study.get("words")))),
    )


def _asked(row: Json, count: int) -> Asked:
    shares = [_share(mapping(one)) for one in items(row.get("shares"))]
    if len(shares) != count:
        raise ValueError(f"study.json: {text(row.get('label'))} has {len(shares)} shares for {count} systems")
    return Asked(
        text(row.get("criterion")),
        text(row.get("label")),
        text(row.get("kind")),
        text(row.get("asked")),
        tuple(_with_best(shares)),
        number(row.get("alpha")),
        text(row.get("agreement")),
    )


def _share(one: Json) -> Share:
    votes, of = (int(number(one.get(key)) or 0) for key in ("votes", "of"))
    return Share(number(one.get("percent")), number(one.get("low")), number(one.get("high")), votes, of)


def _with_best(shares: Sequence[Share]) -> list[Share]:
    """Marks a share whose whole interval lies above all others; there is at most one."""
    made = []
    for place, share in enumerate(shares):
        others = [other.high for index, other in enumerate(shares) if index != place]
        known = [high for high in others if high is not None]
        best = share.low is not None and len(known) == len(others) > 0 and share.low > max(known)
        made.append(Share(share.percent, share.low, share.high, share.votes, share.of, best))
    return made


def study_csv(study: UserStudy) -> str:
    """A line per question and system."""
    columns = list(zip(study.systems, study.runs, study.variants, strict=True))
    rows = [
        (q.criterion, q.kind, q.asked, *column, s.percent, s.low, s.high, study.level, s.votes, s.of, q.alpha)
        for q in study.asked
        for column, s in zip(columns, q.shares, strict=True)
    ]
    return csv_text(HEAD, rows)


def study_figure(run: Run) -> Figure | None:
    """A panel per question, a row per system: percentage and interval."""
    study = user_study(run)
    if study is None or not study.asked:
        return None
    palette = colours(run)
    panels = tuple(_panel(study, question, palette) for question in study.asked)
    caption = "Mark: percentage of answers; bar: its interval over raters."
    return Figure("study", "What people said", caption, panels, study_csv(study))


def _panel(study: UserStudy, question: Asked, palette: dict[str, str]) -> Panel:
    left, top, right = label_room(study.systems), 26.0, WIDTH - 14
    bottom = top + ROW * len(study.systems) + 4
    x = Scale(0.0, 100.0, left, right)
    marks, ticks = [], []
    for place, (label, variant, share) in enumerate(zip(study.systems, study.variants, question.shares, strict=True)):
        y, css = top + ROW * (place + 0.5) + 2, palette.get(variant, "base")
        ticks.append((y, short(label, 26)))
        said = f"{label}: {share.value} % {share.interval}"
        if share.low is not None and share.high is not None:
            marks.append(Mark("segment", css, x(share.low), y, x(share.high), y, words=said))
        if share.percent is not None:
            marks.append(Mark("dot", css, x(share.percent), y, r=3.4, words=said))
    label = "picked as the best, %" if question.kind == "pick" else "judged to do so, %"
    size, room = (WIDTH, bottom + 34), (left, top, right, bottom)
    said = f"{question.label}: percentage by system"
    return Panel(question.label, said, *size, *room, label, "", x.ticks(), tuple(ticks), tuple(marks))
