"""How finished steps become a run folder: artifacts -> records, claims, curves, costs, samples; then the
report.

Records are deterministic: their order is that of the questions, and nothing of this machine is in them.
Seconds, memory and versions go to costs.jsonl and environment.json. A step that failed leaves a gap that
health.json names.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.costs import OperationCounter
from bench.errors import StoreError
from bench.evidence import extrapolation_lines
from bench.fingerprint import digest
from bench.graph import File, Step
from bench.guards import Words, likeness, training
from bench.plan import EvaluationSet, Plan, Scored, VariantPlan
from bench.profile import ROOT
from bench.samples import write_samples
from bench.sources import EVALUATION
from bench.store import Store
from reports.load import Claim
from reports.record import SCHEMA_VERSION, Record, from_dict, to_line

VERSION = 3  # of the run folder's layout: raised when a run has to be assembled again
BASELINE_LABELS = {
    "real": "Real against real",
    "reconstruction": "Autoencoder reconstruction",
    "static": "Static repeat of the input",
    "another": "Another clip",
    "text_to_video": "Text-to-video prior, no image",
}
DAMAGE = ("corrupt", "do not decode", "header says")  # words in a clip's notes that tell of a damaged file
CLAIM_KEYS = {f.name for f in fields(Claim)}  # what claims.jsonl holds of a claim
NAMED = 5  # videos that a record's note names; health.json names all


@dataclass
class Finished:
    """A run whose steps are done (or failed): what `assemble` and `bench/alive.py` look at."""

    plan: Plan
    store: Store
    folder: Path
    failed: Mapping[str, str] = field(default_factory=dict)  # fingerprint -> error
    records: list[Record] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def artifact(self, step: Step) -> Path | None:
        """The folder of a step's artifact, None if it failed."""
        done = self.store.has(step.kind, step.fingerprint)
        return self.store.folder(step.kind, step.fingerprint) if done else None

    def read(self, step: Step, name: str) -> Any:
        """A JSON file of an artifact, None if the step failed or left no such file."""
        path = self.file(step, name)
        return json.loads(path.read_text(encoding="utf-8")) if path else None

    def file(self, step: Step, name: str) -> Path | None:
        """A file of an artifact, its content checked; None if the step failed or left no such file.

        Raises StoreError when it is damaged; the artifact is removed, so that the next run makes it again.
        """
        folder = self.artifact(step)
        if folder is None or not (folder / name).is_file():
            return None
        words = self.store.damage(step.kind, step.fingerprint, only=[name])
        if words is None:
            return folder / name
        self.store.condemn(step.kind, step.fingerprint)
        raise StoreError(
            f"{step.label} ({step.kind} {step.fingerprint[:12]}): {words}. The artifact is removed: give the same "
            "command again to make it anew"
        )


def run_identity(plan: Plan) -> str:
    """Changes whenever the run folder would: steps, questions as written, layout."""
    return digest(
        {
            "layout": VERSION,
            "schema": SCHEMA_VERSION,
            "steps": plan.graph.to_json(),
            "questions": {q.name: q.to_json() for q in plan.questions},
            "previews": plan.profile.previews,
        }
    )


def is_assembled(plan: Plan, folder: Path) -> bool:
    """Whether the folder holds exactly this run, complete, with its report."""
    try:
        identity = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(identity == run_identity(plan) and (folder / "report.html").is_file())


def assemble(run: Finished, costs: Mapping[str, Mapping[str, Any]], environment: Mapping[str, Any]) -> None:
    """Writes the run folder. `costs`: by fingerprint, of the steps that this run did itself."""
    folder, plan = run.folder, run.plan
    run.records = list(_records(run))
    write_lines(folder / "records.jsonl", (to_line(record) for record in run.records))
    run.claims = _claims(run)
    write_lines(folder / "claims.jsonl", map(_line, run.claims))
    write_lines(folder / "curves.jsonl", map(_line, _curves(run)))
    write_lines(folder / "extrapolation.jsonl", map(_line, extrapolation_lines(run, BASELINE_LABELS)))
    write_lines(folder / "costs.jsonl", map(_line, cost_lines(run, costs)))
    write_json(folder / "environment.json", environment)
    write_json(folder / "spec.json", spec_json(plan))
    write_json(folder / "samples" / "index.json", write_samples(run))
    write_json(folder / "health.json", health(run))
    write_json(folder / "plan.json", {"steps": plan.graph.to_json()})


def mark_finished(plan: Plan, folder: Path) -> None:
    """Says that the folder holds this run, whole; the last thing that is written, after the report. Killed before, a
    report that an earlier attempt left would be taken for this one's.
    """
    write_json(folder / "plan.json", {"identity": run_identity(plan), "steps": plan.graph.to_json()})


def _records(run: Finished) -> Iterator[Record]:
    from bench.system_words import clip_words  # it reads `Finished`, which is defined here

    plan = run.plan
    for question in plan.questions:
        for dataset, evaluation in plan.sets(question.name).items():
            notes = data_notes(run, evaluation)
            for variant in question.variants:
                built = plan.variants[question.name, variant.name]
                if dataset not in built.aggregate:
                    continue  # it gives no numbers: the plan's notes say why
                of_clips = clip_words(run, built, dataset)
                own = [*of_clips.all, *plan.notes.get((question.name, variant.name), ()), *notes]
                about: dict[str, Any] = {
                    "question": question.name,
                    "variant": variant.name,
                    "label": variant.label,
                    "role": "variant",
                    "dataset": dataset,
                }
                looks = {seed: suspicions(run, built, dataset, seed) for seed in plan.seeds(question.name)}
                if built.one_set:
                    scored, seen = next((built.scored[dataset, seed], seen) for seed, seen in looks.items())
                    sound = seen.sound and not of_clips.reasons
                    where, prints = {**about, "seed": None}, _prints(scored, evaluation)
                    yield from _of_step(run, scored.score, where, prints, [*own, *seen.all], sound)
                    continue
                for seed, seen in looks.items():
                    scored = built.scored[dataset, seed]
                    told = () if scored.clips.kind == "external" else run.read(scored.clips, "notes.json") or ()
                    said = [*own, *told, *seen.all]
                    where = {**about, "seed": seed}
                    yield from _of_step(run, scored.score, where, _prints(scored, evaluation), said, seen.sound)
                aggregate = built.aggregate[dataset]
                prints = {"aggregate": aggregate.fingerprint, "reference": evaluation.reference.fingerprint}
                said = [*own, *(f"{words} (seed {seed})" for seed, seen in looks.items() for words in seen.all)]
                sound = all(seen.sound for seen in looks.values())
                yield from _of_step(run, aggregate, {**about, "seed": None}, prints, said, sound)
            for name, scored in evaluation.baselines.items():
                about_baseline: dict[str, Any] = {
                    "question": question.name,
                    "variant": name,
                    "label": BASELINE_LABELS[name],
                    "role": "baseline",
                    "dataset": dataset,
                    "seed": None,
                }
                yield from _of_step(run, scored.score, about_baseline, _prints(scored, evaluation), notes)


def suspicions(run: Finished, built: VariantPlan, dataset: str, seed: int) -> Words:
    """What cannot be right about one variant's training and clips (`bench/guards.py`)."""
    look, found = built.scored[dataset, seed].look, Words()
    if look is not None:
        items = run.read(built.scored[dataset, seed].clips, "items.json") or ()
        found = likeness(run.read(look, "alike.json") or {}, len(items))
    for trained in built.training.get(seed, ()):
        path = run.file(trained.step, "curve.jsonl") if trained.step is not None else None
        curve = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path else []
        found.notes += [f"stage {trained.stage.name}: {words}" for words in training(curve)]
    return found


def _of_step(
    run: Finished,
    step: Step,
    about: Mapping[str, Any],
    prints: Mapping[str, str],
    notes: Sequence[str],
    sound: bool = True,
) -> Iterator[Record]:
    """The records that a scoring step left, completed by what only the plan knows; not `sound`: not comparable."""
    own = "dataset" in about and about["dataset"] in run.plan.sources.data
    for left in run.read(step, "records.json") or []:
        yield from_dict(
            {
                **left,
                **about,
                "schema": SCHEMA_VERSION,
                "features": left.get("features", run.plan.profile.features),
                "world": "real" if own else "tiny",
                "notes": [*left.get("notes", []), *notes],
                "comparable": left["comparable"] and sound,
                "fingerprints": {**left.get("fingerprints", {}), **prints},
            },
            f"{step.label} {step.fingerprint[:12]}",
        )


def _prints(scored: Scored, evaluation: EvaluationSet) -> dict[str, str]:
    """Everything that a number stands on, by role."""
    found = {
        "clips": scored.clips.fingerprint,
        "score": scored.score.fingerprint,
        "reference": evaluation.reference.fingerprint,
    }
    for role, source in (*scored.clips.inputs.items(), *scored.features.inputs.items()):
        if role in {"model", "vae", "classifier", "perceptual", "i3d", "dreamsim", "lpips", "clip"}:
            found[role] = source.digest if isinstance(source, File) else source.fingerprint
    return found


def data_notes(run: Finished, evaluation: EvaluationSet) -> list[str]:
    """What a reader of a number must know about its videos."""
    names = ("notes.json", "set_aside.json", "items.json")
    return video_notes(*(run.read(evaluation.clips, name) or [] for name in names))


def video_notes(
    notes: Sequence[object], aside: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Notes of the reader, videos set aside, damaged or used with a note, from the files of a `clips` artifact."""
    said = [str(note) for note in notes]
    damaged = [item for item in items if _is_damaged(item)]
    noted = [item for item in items if item.get("notes") and not _is_damaged(item)]
    for found, words in ((aside, "set aside"), (damaged, "damaged, used"), (noted, "used with a note")):
        if found:
            names = [str(item.get("path") or item["id"]) for item in found]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            said.append(f"{len(names)} videos {words}: {', '.join(names[:NAMED])}{more} ({_reasons(found)})")
    return said


def _reasons(found: Sequence[Mapping[str, Any]]) -> str:
    """How often each reason occurs, numbers and details left out: "2 too short, 1 empty file"."""
    given = (reason for item in found for reason in item.get("notes") or [item.get("reason", "")])
    counts = Counter(re.split(r"[:(]|(?<=\D) (?=\d)", str(reason))[0].strip() for reason in given)
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def _is_damaged(item: Mapping[str, Any]) -> bool:
    return any(word in note for note in item.get("notes", ()) for word in DAMAGE)


def _claims(run: Finished) -> list[dict[str, Any]]:
    """The verdicts; Holm's correction runs over all claims of a question, on both data sets together."""
    from bench.metrics.judge import decide_lines

    family: dict[str, list[dict[str, Any]]] = {}
    for (question, dataset), step in run.plan.claims.items():
        heard = run.read(step, "claims.json") or []
        family.setdefault(question, []).extend({**c, "question": question, "dataset": dataset} for c in heard)
    lines = [line for heard in family.values() for line in decide_lines(heard)]
    return [{key: value for key, value in line.items() if key in CLAIM_KEYS} for line in lines]


def _curves(run: Finished) -> Iterator[dict[str, Any]]:
    """One line per logged step, variant and seed; variants that share a stage repeat its lines."""
    for (name, steps), questions in _trainings(run.plan).items():
        for seed, stage, step in steps:
            path = run.file(step, "curve.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines() if path else ():
                yield {
                    "variant": name,
                    "question": questions,
                    "seed": seed,
                    **json.loads(line),
                    "stage": stage,
                }


def _trainings(plan: Plan) -> dict[tuple[str, tuple[tuple[int, str, Step], ...]], list[str]]:
    """(variant, its steps) -> the questions that have it; equal steps of a question under the first name alone."""
    found: dict[tuple[str, tuple[tuple[int, str, Step], ...]], list[str]] = {}
    told: set[tuple[str, tuple[tuple[int, str, Step], ...]]] = set()
    for (question, name), built in plan.variants.items():
        steps = tuple(
            (seed, trained.stage.name, trained.step)
            for seed, stages in built.training.items()
            for trained in stages
            if trained.step is not None
        )
        if (question, steps) not in told:
            found.setdefault((name, steps), []).append(question)
        told.add((question, steps))
    return found


def cost_lines(run: Finished, costs: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What each step cost: measured in this run, or when its artifact was made (`reused`)."""
    operations = OperationCounter(run.plan.profile)
    for step in run.plan.graph:
        own = costs.get(step.fingerprint)
        manifest = run.store.manifest(step.kind, step.fingerprint)
        spent = own if own is not None else manifest["costs"] if manifest else None
        if spent is not None:
            yield {
                "label": step.label,
                "kind": step.kind,
                "fingerprint": step.fingerprint,
                **spent,
                "reused": own is None,
                "planned_seconds": round(step.cost, 3),
                "operations": operations(step),
            }


def spec_json(plan: Plan) -> dict[str, Any]:
    """Questions, profile, systems and protocols as they were resolved."""
    from bench.system_words import asked  # it reads `Finished`, which is defined here

    questions = {q.name: {**q.to_json(), "fingerprint": digest(q.to_json())} for q in plan.questions}
    return {
        **asked(plan, questions),
        "profile": plan.profile.model_dump(mode="json"),
        "data": {
            role: {"root": str(d.root), "catalog": d.catalog, "content": d.content}
            for role, d in plan.sources.data.items()
        },
        "weights": {role: {"file": _place(f.path), "sha256": f.digest} for role, f in plan.sources.weights.items()},
        "protocols": {plan.protocol.name: plan.protocol.fields},
    }


def _place(path: Path) -> str:
    """A path as anyone may read it: within the repository, else the file's name alone."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def health(run: Finished) -> dict[str, Any]:
    """What was damaged, set aside, missing or not comparable, and whether the world is alive."""
    damaged: list[Any] = []
    aside: list[Any] = []
    notes: list[Any] = [*shipped_notes(run.plan), *released_notes(run.plan)]
    sets = {"train": run.plan.train_clips} if run.plan.train_clips else {}
    sets |= {name: evaluation.clips for name, evaluation in run.plan.evaluation.items()}
    for dataset, clips in sets.items():
        aside += [{"dataset": dataset, **item} for item in run.read(clips, "set_aside.json") or []]
        notes += [f"{dataset}: {note}" for note in run.read(clips, "notes.json") or []]
        for item in run.read(clips, "items.json") or []:
            reason = {"dataset": dataset, "id": item["id"], "reason": "; ".join(item.get("notes", ()))}
            (damaged if _is_damaged(item) else notes).extend([reason] if item.get("notes") else [])
    aside += [{"dataset": "train", **item} for item in _streamed_aside(run)]
    if not run.plan.train_clips and "train" in run.plan.sources.data:
        notes += [f"train: {note}" for note in run.plan.sources.data["train"].notes]
    labels = {step.fingerprint: step.label for step in run.plan.graph}
    from bench.caption_words import caption_notes  # they read `Finished`, which is defined here
    from bench.system_words import file_lines

    of_systems = file_lines(run)
    return {
        "damaged": [*damaged, *of_systems[0]],
        "set_aside": [*aside, *of_systems[1]],
        "missing": [*of_systems[2], *({"id": labels[f], "reason": error} for f, error in run.failed.items())],
        "not_comparable": _not_comparable(run.records),
        "notes": [*notes, *caption_notes(run)],
        "alive": _alive(run),
    }


def _streamed_aside(run: Finished) -> list[dict[str, str]]:
    """Videos that training steps took out of the shards they read and could not use, each once."""
    steps = [step for step in run.plan.graph if step.kind == "train" and "shards" in step.inputs]
    found = {item["id"]: item["reason"] for step in steps for item in run.read(step, "set_aside.json") or []}
    return [{"id": name, "reason": reason} for name, reason in sorted(found.items())]


def _not_comparable(records: Iterable[Record]) -> list[str]:
    found: dict[str, None] = {}
    for record in records:
        if not record.comparable:
            why = next((note for note in record.notes if "comparable" in note or "required" in note), "")
            what = f"{record.dataset} {record.metric} ({record.features}, {record.protocol})"
            found[f"{what}: n = {record.n}. {why}".strip()] = None
    return list(found)


def _alive(run: Finished) -> list[dict[str, Any]]:
    """Whether the tiny world says anything; a run with gaps is not asked."""
    from bench import alive  # it reads `Finished`, which is defined here

    return [] if run.failed else alive.alive(run)


def shipped_notes(plan: Plan) -> list[str]:
    """What the interval over training seeds cannot cover: stages that come as a file, trained once."""
    files = {
        t.source.path.name: t.stage.name
        for built in plan.variants.values()
        for trained in built.training.values()
        for t in trained
        if t.step is None and isinstance(t.source, File)
    }
    if not files:
        return []
    return [
        f"stage i comes ready made ({', '.join(sorted(files))}), each trained once: training seeds vary the stages "
        "after it, so intervals over seeds leave out what another stage i would have given"
    ]


def released_notes(plan: Plan) -> list[str]:
    """Which variants take their weights from a file, or should have; which sets were not given."""
    absent = [f"{name}: not given, not evaluated" for name in EVALUATION if name not in plan.evaluation]
    from bench.system_words import plan_notes  # it reads `Finished`, which is defined here

    return absent + plan_notes(plan)


def _line(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A file of lines; it appears whole or not at all."""
    _replace(path, "".join(f"{line}\n" for line in lines))


def write_json(path: Path, value: object) -> None:
    """A JSON file; it appears whole or not at all."""
    _replace(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
