"""What did a run, or a score, leave in the store? Its stored clips and features, found through its records.

A record names the steps that it stands on; plan.json says what those steps were given. Nothing is planned anew, so
a run is read as it was made, whatever the code has become since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, UsageError
from bench.graph import File
from bench.profile import Profile
from bench.store import Store
from reports.load import load
from reports.record import Record

CLIPS = ("sample", "external", "baseline", "collect", "clips")  # kinds of steps that leave clips


@dataclass(frozen=True)
class Made:
    """One stored set of clips of a run: whose they are, the artifact, and what PIC compared them with."""

    question: str
    variant: str
    label: str
    role: str
    dataset: str
    world: str
    seed: int | None
    clips: File
    conditions: File | None
    reference: File | None  # the real clips
    notes: tuple[str, ...] = ()


@dataclass
class StoredRun:
    """A run folder and the store that its artifacts are in."""

    folder: Path
    store: Store
    records: list[Record]
    spec: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]  # by fingerprint, as plan.json has them
    claims: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def profile(self) -> Profile:
        """The profile as it was resolved. Raises BenchError for one of a version that this one cannot read."""
        try:
            return Profile.model_validate(self.spec["profile"])
        except (KeyError, ValidationError) as error:
            raise BenchError(
                f"{self.folder / 'spec.json'}: its profile cannot be read by this version: {error}"
            ) from None

    def protocol_values(self, name: str) -> dict[str, Any]:
        """Value of each field of a protocol of the run. Raises BenchError when the run does not say."""
        fields = self.spec.get("protocols", {}).get(name)
        if not fields:
            raise BenchError(f"{self.folder / 'spec.json'}: no fields of protocol {name}")
        return {one["field"]: one["value"] for one in fields}

    def inputs(self, fingerprint: str | None) -> Mapping[str, str]:
        """role -> fingerprint or digest, of a step of the run; empty for one that it does not know."""
        return dict(self.steps.get(fingerprint or "", {}).get("inputs", {}))

    def artifact(self, fingerprint: str | None) -> Path | None:
        """The folder of a step's artifact, None when it is not in the store (any more)."""
        kind = self.steps.get(fingerprint or "", {}).get("kind")
        there = kind and fingerprint and self.store.has(kind, fingerprint)
        return self.store.folder(str(kind), str(fingerprint)) if there else None

    def file(self, fingerprint: str | None) -> File | None:
        """An artifact as the input of a new step: the same fingerprint, so the same work is found done."""
        folder = self.artifact(fingerprint)
        return File(folder, str(fingerprint)) if folder is not None else None

    def features_of(self, record: Record) -> tuple[dict[int | None, str], str | None]:
        """({seed: fingerprint of the features}, the reference's) that a record was computed from."""
        prints = record.fingerprints
        given = self.inputs(prints.get("score") or prints.get("aggregate"))
        if "generated" in given:
            return {record.seed: given["generated"]}, given.get("reference")
        seeds = {int(role[5:]): one for role, one in given.items() if role.startswith("seed_")}
        return dict(sorted(seeds.items())), given.get("reference")

    def made(self) -> Iterator[Made]:
        """Every stored set of clips that has records, each once, in their order.

        Raises BenchError naming the first that is not in the store any more.
        """
        seen = set()
        for record in self.records:
            key = (record.question, record.variant, record.dataset, record.seed)
            if "clips" not in record.fingerprints or key in seen:
                continue
            seen.add(key)
            yield self._made(record)

    def _made(self, record: Record) -> Made:
        features, reference = self.features_of(record)
        given = self.inputs(features[record.seed])
        real = self.inputs(reference).get("clips")
        clips = self.file(record.fingerprints["clips"])
        if clips is None or (real and self.file(real) is None):
            what = f"{record.variant} on {record.dataset}, seed {record.seed}"
            raise BenchError(
                f"{self.store.root}: the samples of {what} are not in this store (any more). Name the run's store with "
                "--store, or give the run's command again to make them anew"
            )
        return Made(
            record.question, record.variant, record.label, record.role, record.dataset, record.world, record.seed,
            clips, self.file(given.get("conditions")), self.file(real), self._notes(record),
        )  # fmt: skip

    def _notes(self, record: Record) -> tuple[str, ...]:
        """What the run says of the videos: the record's notes without those that its scoring step left."""
        folder = self.artifact(record.fingerprints.get("score"))
        left = json.loads((folder / "records.json").read_text(encoding="utf-8")) if folder else []
        own = {note for one in left for note in one["notes"]}
        return tuple(note for note in record.notes if note not in own)


def open_run(folder: Path, store: Path | None) -> StoredRun:
    """A run or score folder. Raises UsageError for a folder that is none, or whose records cannot be read."""
    if not (folder / "records.jsonl").is_file():
        raise UsageError(f"{folder} is no run folder: it has no records.jsonl")
    try:
        run, plan = load(folder), folder / "plan.json"
        told = json.loads(plan.read_text(encoding="utf-8")) if plan.is_file() else {"steps": []}
        steps = {step["fingerprint"]: step for step in told["steps"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} cannot be read: {error}") from None
    claims = folder / "claims.jsonl"
    lines = claims.read_text(encoding="utf-8").splitlines() if claims.is_file() else []
    from bench.scoring.setting import RUNS

    spec: Any = run.spec
    return StoredRun(folder, Store(store or RUNS / "store"), run.records, spec, steps, [json.loads(x) for x in lines])
