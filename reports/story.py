"""What was asked, and what came out? A few sentences for the top of the page.

Everything is computed from the run's records and claims; nothing is written by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports import words
from reports.cells import FULL, Cell, Table
from reports.load import Claim, Run, mapping, text
from reports.record import Record
from reports.verdicts import effect, order

BESIDE = {
    "real": "real against real",
    "reconstruction": "autoencoder alone",
    "static": "static repeat of the input",
}


def world_words(run: Run) -> str:
    """'the tiny world', 'real videos', or both."""
    return words.listed([words.WORLDS[world] for world in run.worlds]) or "no world: it holds no record"


def counts(records: Sequence[Record]) -> tuple[str, str]:
    """(samples, training seeds) in words."""
    n = words.spread(record.n for record in records if record.role == "variant")
    seeds = {record.seed for record in records if record.role == "variant" and record.seed is not None}
    return f"{n} videos per variant and dataset", words.count(len(seeds), "training seed") if seeds else words.NO_SEED


def asked(run: Run) -> list[tuple[str, str]]:
    """(question, name and source) of everything that the run was asked."""
    found = []
    for name, question in mapping(run.spec.get("questions")).items():
        about = mapping(question)
        source = f"; {about['source']}" if about.get("source") else ""
        found.append((text(about.get("question")) or name, f"{name}{source}"))
    return found


def outcome(run: Run, tables: Sequence[Table]) -> list[str]:
    """Three sentences: the verdicts, the clearest of them, the full model among its baselines."""
    return [_verdicts(run), _clearest(run), _full_model(tables)]


def _verdicts(run: Run) -> str:
    n, seeds = counts(run.records)
    claims = run.own_claims
    if not claims:
        return f"No claim of the paper was judged in this run ({n}, {seeds})."
    sentences = {(c.question, c.claim, c.metric) for c in claims}
    tally = {verdict: sum(c.verdict == verdict for c in claims) for verdict in words.VERDICTS}
    where = words.listed([words.dataset_name(d) for d in dict.fromkeys(c.dataset for c in claims)])
    where = f"its stand-ins for {where}" if run.worlds == ("tiny",) else where
    ours = len({(c.question, c.claim, c.metric) for c in claims if c.source == "ours"})
    whose = "of the paper" if not ours else f"({len(sentences) - ours} of the paper, {ours} of ours)"
    rest = f" {tally['not tested']} are not tested." if tally["not tested"] else ""
    return (
        f"In {world_words(run)}, {words.count(len(sentences), 'claim')} {whose} came to "
        f"{words.count(len(claims), 'verdict')} on {where}: {tally['holds']} hold, {tally['fails']} "
        f"fail and {tally['undecided']} stay undecided, with {n} and {seeds}.{rest}"
    )


def _clearest(run: Run) -> str:
    parts = []
    for verdict, opening in (("holds", "Clearest support"), ("fails", "clearest contradiction")):
        found = [c for c in run.own_claims if c.verdict == verdict]
        if found:
            best = max(found, key=_clarity)
            said = f"“{best.claim}”, that is {order(run, best)} in {words.metric_name(best.metric)}"
            parts.append(f"{opening}: {said}, on {words.dataset_name(best.dataset)}, {effect(best)}")
    if not parts:
        return "No claim is decided either way." if run.own_claims else "Without verdicts, read the intervals below."
    joined = "; ".join(parts) + "."
    return joined[0].upper() + joined[1:]


def _clarity(claim: Claim) -> float:
    """Effect over the half width of its interval: how many times the effect clears zero."""
    if claim.effect is None or claim.low is None or claim.high is None or claim.high <= claim.low:
        return 0.0
    return abs(claim.effect) / ((claim.high - claim.low) / 2)


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
            for name, label in BESIDE.items()
            if name in rows and (c := rows[name].cells[index]) is not None
        ]
        said = f" ({'; '.join(beside)})" if beside else ""
        features = f" ({column.features})" if len({c.features for c in table.columns if c.metric == "fvd"}) > 1 else ""
        parts.append(f"{_cell(cell, column.digits)}{features} on {words.dataset_name(column.dataset)}{said}")
    if not parts:
        return f"For {full.label} the run holds no FVD."
    return f"{full.label} itself reaches an FVD (lower is better) of {words.listed(parts)}."


def _cell(cell: Cell, digits: int) -> str:
    return f"{words.decimal(cell.value, digits)} {words.bracket(cell.low, cell.high, digits)}".strip()
