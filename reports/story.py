"""What came out, in words? Three sentences, the state of the data, and each claim as a reader meets it.

Everything is computed from the run's records and claims; nothing is written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import words
from reports.charts import Panel
from reports.figures import forest
from reports.load import Claim, Run, items, mapping, number, text
from reports.paper import PublishedClaim, paper
from reports.tables import FULL, Cell, Table


@dataclass(frozen=True)
class Judged:
    """A claim on one dataset with its plot and its numbers in words."""

    claim: Claim
    plot: Panel
    effect: str
    interval: str
    p: str
    seeds: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A claim with its verdicts, dataset by dataset, and what the paper printed for it."""

    claim: str
    metric: str
    order: str  # "DynamiCrafter before w/o ctx"
    published: str
    judged: tuple[Judged, ...]


@dataclass(frozen=True)
class QuestionClaims:
    """A question of the run with the sentences judged under it."""

    name: str
    question: str
    source: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Health:
    """Counts with the lines behind them: (what, how many, lines). `fine` when nothing is wrong.

    `whole` are the notes on the run as a whole (plain text in health.json); `notes` are those on single videos
    and on files that the run lacks.
    """

    lines: tuple[tuple[str, int, tuple[str, ...]], ...]
    whole: tuple[str, ...]
    notes: tuple[str, ...]
    alive: tuple[tuple[str, str, str, bool], ...]  # check, value, target, reached

    @property
    def fine(self) -> bool:
        return not any(number for _, number, _ in self.lines)


def world_words(run: Run) -> str:
    """'the tiny world', 'real videos', or both."""
    return words.listed([words.WORLDS[world] for world in run.worlds]) or "no world: it holds no record"


def counts(run: Run) -> tuple[str, str]:
    """(samples, training seeds) in words."""
    n = words.spread(record.n for record in run.records if record.role == "variant")
    seeds = {record.seed for record in run.records if record.role == "variant" and record.seed is not None}
    return f"{n} videos per variant and dataset", words.count(len(seeds), "training seed")


def outcome(run: Run, tables: Sequence[Table]) -> list[str]:
    """Three sentences: the verdicts, the clearest of them, the full model among its baselines."""
    return [_verdicts(run), _clearest(run), _full_model(tables)]


def _verdicts(run: Run) -> str:
    n, seeds = counts(run)
    if not run.claims:
        return f"No claim of the paper was judged in this run ({n}, {seeds})."
    sentences = {(c.question, c.claim, c.metric) for c in run.claims}
    tally = {verdict: sum(c.verdict == verdict for c in run.claims) for verdict in words.VERDICTS}
    where = words.listed([words.dataset_name(d) for d in dict.fromkeys(c.dataset for c in run.claims)])
    return (
        f"In {world_words(run)}, {words.count(len(sentences), 'claim')} of the paper came to "
        f"{words.count(len(run.claims), 'verdict')} on {where}: {tally['holds']} hold, {tally['fails']} "
        f"fail and {tally['undecided']} stay undecided, with {n} and {seeds}."
    )


def _clearest(run: Run) -> str:
    parts = []
    for verdict, opening in (("holds", "Clearest support"), ("fails", "clearest contradiction")):
        found = [c for c in run.claims if c.verdict == verdict]
        if found:
            best = max(found, key=_clarity)
            where, order = words.dataset_name(best.dataset), _order(run, best.better)
            parts.append(f"{opening}: “{best.claim}” ({order}) on {where}, {_effect(best)}")
    if not parts:
        return "No claim is decided either way." if run.claims else "Without verdicts, read the intervals below."
    joined = "; ".join(parts) + "."
    return joined[0].upper() + joined[1:]


def _clarity(claim: Claim) -> float:
    """Effect over the half width of its interval: how many times the effect clears zero."""
    if claim.effect is None or claim.low is None or claim.high is None or claim.high <= claim.low:
        return 0.0
    return abs(claim.effect) / ((claim.high - claim.low) / 2)


def _digits(claim: Claim) -> int:
    ends = [value for value in (claim.effect, claim.low, claim.high) if value is not None]
    widths = [(claim.high - claim.low) / 2] if claim.low is not None and claim.high is not None else []
    return words.places(ends, widths)


def _effect(claim: Claim) -> str:
    digits = _digits(claim)
    return (
        f"{words.metric_name(claim.metric)} effect {words.signed(claim.effect, digits)} "
        f"{words.bracket(claim.low, claim.high, digits)}"
    ).strip()


def _full_model(tables: Sequence[Table]) -> str:
    if not tables or not tables[0].rows:
        return "The run holds no number of a model."
    table = tables[0]
    rows = {row.variant: row for row in table.rows}
    full = rows.get(FULL) or next((row for row in table.rows if row.role == "variant"), None)
    if full is None:
        return "The run holds baselines only, no number of a model."
    parts = []
    for index, column in enumerate(table.columns):
        if column.metric != "fvd" or (cell := full.cells[index]) is None:
            continue
        beside = [
            f"{label} {words.decimal(c.value, column.digits)}"
            for name, label in _BESIDE.items()
            if name in rows and (c := rows[name].cells[index]) is not None
        ]
        said = f" ({'; '.join(beside)})" if beside else ""
        parts.append(f"{_cell(cell, column.digits)} on {words.dataset_name(column.dataset)}{said}")
    if not parts:
        return f"For {full.label} the run holds no FVD."
    return f"{full.label} itself reaches an FVD of {words.listed(parts)}."


_BESIDE = {
    "real": "real against real",
    "reconstruction": "autoencoder alone",
    "static": "static repeat of the input",
}


def _cell(cell: Cell, digits: int) -> str:
    return f"{words.decimal(cell.value, digits)} {words.bracket(cell.low, cell.high, digits)}".strip()


def claims_by_question(run: Run) -> list[QuestionClaims]:
    """Claims in the order of the run, grouped by question and sentence."""
    found: dict[str, dict[tuple[str, str, tuple[str, ...]], list[Claim]]] = {}
    for claim in run.claims:
        found.setdefault(claim.question, {}).setdefault((claim.claim, claim.metric, claim.better), []).append(claim)
    questions = mapping(run.spec.get("questions"))
    made = []
    for name, sentences in found.items():
        about = mapping(questions.get(name))
        made.append(
            QuestionClaims(
                name,
                text(about.get("question")) or name,
                text(about.get("source")),
                tuple(_sentence(run, *key, claims) for key, claims in sentences.items()),
            )
        )
    return made


def _sentence(run: Run, claim: str, metric: str, better: tuple[str, ...], judged: list[Claim]) -> Sentence:
    verdicts = tuple(_judged(run, one) for one in judged)
    return Sentence(claim, metric, _order(run, better), published_words(metric, better), verdicts)


def _order(run: Run, better: Sequence[str]) -> str:
    """'DynamiCrafter before w/o ctx'."""
    labels = {r.variant: r.label for r in run.records}
    return " before ".join(labels.get(name, name) for name in better)


def published_words(metric: str, better: Sequence[str]) -> str:
    """'234.66 before 372.80 on MSR-VTT': the paper's numbers for a claim; '' where it printed none."""
    source = paper()
    values = [source.ablation.value(source.labels.get(name, ""), "msrvtt", metric) for name in better]
    return f"{' before '.join(v for v in values if v)} on MSR-VTT" if values and all(values) else ""


def _judged(run: Run, claim: Claim) -> Judged:
    digits, notes = _digits(claim), claim.notes
    if len(claim.better) > 2:
        pair = claim.better[claim.weakest : claim.weakest + 2]
        notes = (f"effect of the weakest step: {_order(run, pair)}", *notes)
    return Judged(
        claim,
        forest(run.claims, claim),
        words.signed(claim.effect, digits),
        words.bracket(claim.low, claim.high, digits),
        words.p_value(claim.p_holm),
        ", ".join(words.signed(value, digits) for value in claim.per_seed),
        notes,
    )


def untested(run: Run) -> list[PublishedClaim]:
    """Claims of the paper's table that no claim of this run answers."""
    tested = {(claim.metric, claim.better) for claim in run.claims}
    return [claim for claim in paper().claims if (claim.metric, claim.better) not in tested]


def health(run: Run) -> Health:
    """What was damaged, missing, set aside or not comparable, and whether the world is alive."""
    wanted = (
        ("damaged", "damaged"),
        ("missing", "missing"),
        ("set_aside", "set aside"),
        ("not_comparable", "not comparable"),
    )
    lines = []
    for key, name in wanted:
        found = [words.item_words(item) for item in items(run.health.get(key))]
        if key == "not_comparable" and not found:
            found = _not_comparable(run)
        lines.append((name, len(found), tuple(found)))
    alive = tuple(_alive(mapping(check)) for check in items(run.health.get("alive")))
    found_notes = items(run.health.get("notes"))
    whole = tuple(dict.fromkeys(note for note in found_notes if isinstance(note, str)))
    notes = tuple(words.item_words(note) for note in found_notes if not isinstance(note, str))
    return Health(tuple(lines), whole, notes + tuple(run.absent), alive)


def _not_comparable(run: Run) -> list[str]:
    keys = dict.fromkeys((r.dataset, r.metric, r.features) for r in run.records if not r.comparable)
    return [f"{words.dataset_name(d)}: {words.metric_name(m)} ({f})" for d, m, f in keys]


def _alive(check: dict[str, object]) -> tuple[str, str, str, bool]:
    said = text(check.get("words")) or text(check.get("check"))
    return said, _value(check.get("value")), _value(check.get("target")), check.get("reached") is True


def _value(value: object) -> str:
    plain = number(value)
    return (
        words.DASH if value is None else f"{plain:.3g}".replace("-", words.MINUS) if plain is not None else text(value)
    )
