"""What did a run leave? A run folder -> records, claims, curves, costs and the words around them.

Records and claims are read strictly (`record.py`); files that a run may lack (curves, samples, ...) are empty
when missing and named in `Run.absent`. Source: the run folder, DESIGN.md section 5. Never imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from reports.record import Record, check_keys, from_line, refuse_constant

Json = dict[str, object]

OPTIONAL = {  # file -> what the reader misses without it
    "claims.jsonl": "no claim was judged",
    "curves.jsonl": "no training curves",
    "costs.jsonl": "no costs",
    "environment.json": "no versions, hardware or command",
    "spec.json": "no resolved specs or protocols",
    "health.json": "nothing is known of damaged or missing videos",
    "plan.json": "no fingerprints of steps",
    "samples/index.json": "no sample videos",
}
STUDY_SCHEMA = 1  # of study.json
VERDICTS = ("holds", "fails", "undecided", "not tested")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence, judged on one dataset; `effect` > 0 speaks for the sentence, in `unit`.

    It orders variants, by one of `better` (best first) and `larger` (largest value first).
    """

    question: str
    claim: str
    metric: str
    dataset: str
    better: tuple[str, ...] = ()
    larger: tuple[str, ...] = ()
    source: str = "paper"  # or "ours"
    effect: float | None
    low: float | None
    high: float | None
    level: float | None
    p: float | None
    p_holm: float | None
    verdict: str  # holds | fails | undecided | not tested
    n: int  # videos
    seeds: int  # training seeds
    unit: str
    per_seed: tuple[float, ...]  # the effect in each seed
    weakest: int = 0  # which neighbours of the order the effect is of, when there are more than two
    notes: tuple[str, ...] = ()
    # Not in every run: the smallest true effect that these videos and seeds would have shown, in `unit`, after the
    # correction over the question's claims and without it; the protocol judged under, '' for the run's own.
    detectable: float | None = None
    detectable_alone: float | None = None
    protocol: str = ""

    @property
    def order(self) -> tuple[str, ...]:
        """The variants as the sentence orders them."""
        return self.better or self.larger


@dataclass(frozen=True)
class Run:
    """A run folder as read; lists keep the order of their files."""

    folder: Path
    records: list[Record]
    claims: list[Claim] = field(default_factory=list)
    curves: list[Json] = field(default_factory=list)
    costs: list[Json] = field(default_factory=list)
    environment: Json = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    health: Json = field(default_factory=dict)
    plan: Json = field(default_factory=dict)
    samples: list[Json] = field(default_factory=list)
    extrapolations: list[Json] = field(default_factory=list)  # FVD against the number of videos; not in every run
    study: Json = field(default_factory=dict)  # a tally of the human study; not in every run
    absent: list[str] = field(default_factory=list)  # sentences: what is missing, what the reader loses

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.folder.resolve().name

    @property
    def worlds(self) -> tuple[str, ...]:
        """Every world that a record is of, 'tiny' before 'real'."""
        return tuple(sorted({record.world for record in self.records}, reverse=True))  # tiny before real

    @property
    def own_claims(self) -> list[Claim]:
        """The claims as judged under the run's own protocol; other protocols may have judged them again."""
        return [claim for claim in self.claims if claim.protocol in ("", self.protocol)]

    def cap(self, question: str) -> int | None:
        """How many videos of each dataset a question was given where the run gave others more; None: all."""
        most = number(mapping(self.spec.get("profile")).get("samples"))
        own = number(mapping(mapping(self.spec.get("questions")).get(question)).get("samples"))
        return int(own) if own is not None and (most is None or own < most) else None

    @property
    def trained(self) -> bool:
        """Whether a question asks about variants of the model; else videos came from elsewhere and were scored."""
        questions = [mapping(question) for question in mapping(self.spec.get("questions")).values()]
        return any("overrides" in mapping(one) for q in questions for one in mapping(q.get("variants")).values())

    @property
    def protocol(self) -> str:
        """The protocol that the run was made under; others came later, by scoring the same videos again."""
        scored = dict.fromkeys(record.protocol for record in self.records)
        told = [name for name in mapping(self.spec.get("protocols")) if name in scored]
        return next(iter([*told, *scored]), "")


def load(folder: Path) -> Run:
    """Reads a run folder. ValueError names file and line of what is wrong; records.jsonl is required."""
    if not (folder / "records.jsonl").is_file():
        raise ValueError(f"{folder}: no records.jsonl there; give the folder of a run (`bench run --out`)")
    records = [from_line(line, where) for where, line in _lines(folder / "records.jsonl")]
    missing = [name for name in OPTIONAL if not (folder / name).is_file()]
    return Run(
        folder=folder,
        records=records,
        claims=[read_claim(row, where) for where, row in _rows(folder / "claims.jsonl")],
        curves=[row for _, row in _rows(folder / "curves.jsonl")],
        costs=[row for _, row in _rows(folder / "costs.jsonl")],
        environment=_object(folder / "environment.json"),
        spec=_object(folder / "spec.json"),
        health=_object(folder / "health.json"),
        plan=_object(folder / "plan.json"),
        samples=[row for row in _list(folder / "samples/index.json") if isinstance(row, dict)],
        extrapolations=[row for _, row in _rows(folder / "extrapolation.jsonl")],
        study=_study(folder / "study.json"),
        absent=[f"{name} is missing: {OPTIONAL[name]}." for name in missing],
    )


def read_claim(row: Mapping[str, object], where: str) -> Claim:
    """Every key of `Claim` must be there (others are left alone); `seeds` may come as a list of seeds."""
    known = tuple(f.name for f in fields(Claim) if f.default is MISSING)
    check_keys({key: value for key, value in row.items() if key in known}, known, where)
    if bool(row.get("better")) == bool(row.get("larger")):
        raise ValueError(f"{where}: one of better and larger is wanted, each a list of variants")
    if row["verdict"] not in VERDICTS:
        raise ValueError(f"{where}: verdict is {row['verdict']!r}; allowed: {', '.join(VERDICTS)}")
    seeds = row["seeds"]
    return Claim(
        question=text(row["question"]),
        claim=text(row["claim"]),
        metric=text(row["metric"]),
        dataset=text(row["dataset"]),
        better=tuple(text(name) for name in items(row.get("better"))),
        larger=tuple(text(name) for name in items(row.get("larger"))),
        source=text(row.get("source")) or "paper",
        effect=number(row["effect"]),
        low=number(row["low"]),
        high=number(row["high"]),
        level=number(row["level"]),
        p=number(row["p"]),
        p_holm=number(row["p_holm"]),
        verdict=text(row["verdict"]),
        n=int(number(row["n"]) or 0),
        seeds=len(seeds) if isinstance(seeds, list) else int(number(seeds) or 0),
        unit=text(row["unit"]),
        per_seed=tuple(value for value in map(number, items(row["per_seed"])) if value is not None),
        weakest=int(number(row.get("weakest")) or 0),
        notes=tuple(map(text, items(row.get("notes")))),
        detectable=number(row.get("detectable")),
        detectable_alone=number(row.get("detectable_alone")),
        protocol=text(row.get("protocol")),
    )


# Reading JSON of unknown shape: each of these gives the type it names, an empty one where another came.
def text(value: object) -> str:
    """As text; '' for null."""
    return "" if value is None else str(value)


def number(value: object) -> float | None:
    """As float; None for what is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def items(value: object) -> list[object]:
    """As list."""
    return list(value) if isinstance(value, list) else []


def mapping(value: object) -> Json:
    """As object with text keys."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        return
    for index, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            yield f"{path}:{index}", line


def _rows(path: Path) -> Iterator[tuple[str, Json]]:
    for where, line in _lines(path):
        try:
            row = json.loads(line, parse_constant=refuse_constant)
        except ValueError as error:
            raise ValueError(f"{where}: not a JSON line: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: a {type(row).__name__} came; a JSON object is expected")
        yield where, row


def _parsed(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None


def _object(path: Path) -> Json:
    return mapping(_parsed(path)) if path.is_file() else {}


def _study(path: Path) -> Json:
    """The tally of a human study; one of another version is refused by name."""
    found = _object(path)
    if found and found.get("schema") != STUDY_SCHEMA:
        came = found.get("schema")
        raise ValueError(f"{path}: schema is {came!r}; this version reads {STUDY_SCHEMA}: tally the answers again")
    return found


def _list(path: Path) -> list[object]:
    return items(_parsed(path)) if path.is_file() else []
