"""Which sentences of the paper hold here, and how sure is it? Claims by question, as a reader meets them.

Source: claims.jsonl of the run folder; the paper's numbers beside them from paper.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import words
from reports.charts import Panel
from reports.forest import forest
from reports.load import Claim, Run, mapping, text
from reports.paper import PublishedClaim, paper
from reports.systems import systems_asked

LEAST_SEEDS = 3  # with fewer nothing is decided, whatever the interval says


@dataclass(frozen=True)
class Judged:
    """A claim on one dataset with its plot and its numbers in words."""

    claim: Claim
    plot: Panel
    effect: str
    interval: str
    p: str
    seeds: str
    detectable: str  # '' where the run does not say
    notes: tuple[str, ...]

    @property
    def rest(self) -> str:
        """Everything but effect and interval, in one line: p, N, seeds, what would have been seen, notes."""
        p = f"p {self.p}" if self.p.startswith("<") else f"p = {self.p}"
        counted = f"N = {self.claim.n}, {words.count(self.claim.seeds, 'seed')}"
        seeds = f"{counted}: {self.seeds}" if self.seeds else counted
        return "; ".join(part for part in (f"{p}, {seeds}", self.detectable, *self.notes) if part)


@dataclass(frozen=True)
class Sentence:
    """A claim with its verdicts, dataset by dataset, and what the paper printed for it."""

    claim: str
    metric: str
    order: str  # "DynamiCrafter better than w/o ctx"
    published: str
    judged: tuple[Judged, ...]
    larger: bool = False  # the order is that of the values, the largest first
    ours: bool = False  # not a sentence of the paper

    @property
    def says(self) -> str:
        """'FVD (lower is better): DynamiCrafter better than w/o ctx'."""
        lower = words.LOWER_IS_BETTER.get(self.metric)
        way = "" if lower is None else f" ({'lower' if lower else 'higher'} is better)"
        way = " (larger first)" if self.larger else way
        stop = "" if self.order.endswith(".") else "."
        printed = f"{stop} In the paper, another world: {self.published}" if self.published else ""
        whose = f"{'' if printed else stop} {words.OURS}" if self.ours else ""
        return f"{words.metric_name(self.metric)}{way}: {self.order}{printed}{whose}"


@dataclass(frozen=True)
class QuestionClaims:
    """A question of the run with the sentences judged under it."""

    name: str
    question: str
    source: str
    sentences: tuple[Sentence, ...]

    @property
    def tally(self) -> str:
        """'2 hold, 0 fail, 6 undecided'."""
        return words.tally([j.claim.verdict for s in self.sentences for j in s.judged])


def claims_by_question(run: Run) -> list[QuestionClaims]:
    """Claims in the order of the run, grouped by question and sentence."""
    found: dict[str, dict[tuple[str, str, tuple[str, ...]], list[Claim]]] = {}
    for claim in run.own_claims:
        found.setdefault(claim.question, {}).setdefault((claim.claim, claim.metric, claim.order), []).append(claim)
    questions = mapping(run.spec.get("questions"))
    made = []
    for name, sentences in found.items():
        about = mapping(questions.get(name))
        made.append(
            QuestionClaims(
                name,
                text(about.get("question")) or name,
                text(about.get("source")),
                tuple(_sentence(run, claims) for claims in sentences.values()),
            )
        )
    return made


def _sentence(run: Run, judged: list[Claim]) -> Sentence:
    """One sentence from its verdicts on the datasets."""
    one, verdicts = judged[0], tuple(_judged(run, claim) for claim in judged)
    printed = compared_words(run, one) or published_words(one.metric, one.better)
    larger, ours = bool(one.larger), one.source == "ours"
    return Sentence(one.claim, one.metric, order(run, one), printed, verdicts, larger, ours)


def order(run: Run, claim: Claim, step: int | None = None) -> str:
    """'DynamiCrafter better than w/o ctx'; `step`: of the neighbours at this place alone."""
    labels = _labels(run, claim)
    names = claim.order if step is None else claim.order[step : step + 2]
    return (" larger than " if claim.larger else " better than ").join(labels.get(name, name) for name in names)


def _labels(run: Run, claim: Claim) -> dict[str, str]:
    """Variant -> label in the claim's question, also of variants without numbers."""
    asked = mapping(mapping(mapping(run.spec.get("questions")).get(claim.question)).get("variants"))
    told = {name: text(mapping(about).get("label")) or name for name, about in asked.items()}
    return told | {r.variant: r.label for r in run.records if r.question == claim.question}


def compared_words(run: Run, claim: Claim) -> str:
    """'429.23 against 576.81 on UCF-101, 234.66 against 377.29 on MSR-VTT': the paper's comparison of systems.

    '' where it printed none, or the question is not about systems.
    """
    rows = {row.label: row.system for row in systems_asked(run)}
    labels, source = [_labels(run, claim).get(name, name) for name in claim.order], paper().comparison
    if not any(rows.get(label) for label in labels):
        return ""
    datasets = dict.fromkeys(dataset for dataset, _ in source.columns())
    found = {one: [source.value(label, one, claim.metric) for label in labels] for one in datasets}
    printed = {one: [value for value in values if value] for one, values in found.items() if all(values)}
    return ", ".join(f"{' against '.join(values)} on {words.dataset_name(one)}" for one, values in printed.items())


def published_words(metric: str, better: Sequence[str]) -> str:
    """'234.66 against 372.80 on MSR-VTT': the paper's numbers for a claim; '' where it printed none."""
    source = paper()
    values = [source.ablation.value(source.labels.get(name, ""), "msrvtt", metric) for name in better]
    return f"{' against '.join(v for v in values if v)} on MSR-VTT" if values and all(values) else ""


def digits(claim: Claim) -> int:
    """Decimals that the claim's interval carries."""
    ends = [value for value in (claim.effect, claim.low, claim.high) if value is not None]
    widths = [(claim.high - claim.low) / 2] if claim.low is not None and claim.high is not None else []
    return words.places(ends, widths)


def effect(claim: Claim) -> str:
    """'FVD effect +24 [3, 45]'."""
    places = digits(claim)
    return (
        f"{words.metric_name(claim.metric)} effect {words.signed(claim.effect, places)} "
        f"{words.bracket(claim.low, claim.high, places)}"
    ).strip()


def _judged(run: Run, claim: Claim) -> Judged:
    places = digits(claim)
    return Judged(
        claim,
        forest(run.own_claims, claim),
        words.signed(claim.effect, places),
        words.bracket(claim.low, claim.high, places),
        words.p_value(claim.p_holm),
        ", ".join(words.signed(value, places) for value in claim.per_seed),
        _detectable(claim, places),
        tuple(_notes(run, claim)),
    )


def _detectable(claim: Claim, places: int) -> str:
    if claim.detectable is None:
        return ""
    return f"would have been seen if larger than {words.decimal(claim.detectable, places)}"


def _notes(run: Run, claim: Claim) -> list[str]:
    """What a reader would stumble over: which step an effect is of, an interval that disagrees with the verdict."""
    notes = list(claim.notes)
    if len(claim.order) > 2 and claim.verdict != "not tested":
        notes.insert(0, f"effect of the weakest step: {order(run, claim, claim.weakest)}")
    apart = claim.low is not None and claim.high is not None and (claim.low > 0 or claim.high < 0)
    if claim.verdict == "undecided" and apart and claim.p_holm is not None and claim.seeds >= LEAST_SEEDS:
        family = sum(c.question == claim.question and c.p_holm is not None for c in run.own_claims)
        notes.append(f"alone it would be decided, corrected for {family} verdicts of its question it is not")
    return notes


def again(run: Run) -> tuple[list[str], list[tuple[str, ...]]]:
    """Verdicts by protocol, where others judged too: (protocols, rows of claim, dataset and a verdict for each).

    The run's own protocol is first; ([], []) when no other judged.
    """
    protocols = list(dict.fromkeys([run.protocol, *(claim.protocol or run.protocol for claim in run.claims)]))
    if len(protocols) < 2:
        return [], []
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for claim in run.claims:
        said = (
            f"{words.SIGNS[claim.verdict]} {words.VERDICTS[claim.verdict]} {words.signed(claim.effect, digits(claim))}"
        )
        tested = f"{words.metric_name(claim.metric)}: {order(run, claim)}"
        rows.setdefault((claim.claim, tested, words.dataset_name(claim.dataset)), {})[
            claim.protocol or run.protocol
        ] = said
    return protocols, [(*key, *(found.get(name, words.DASH) for name in protocols)) for key, found in rows.items()]


def untested(run: Run) -> list[PublishedClaim]:
    """Claims of the paper's table that no claim of this run answers."""
    tested = {(claim.metric, claim.better) for claim in run.claims}
    return [claim for claim in paper().claims if (claim.metric, claim.better) not in tested]
