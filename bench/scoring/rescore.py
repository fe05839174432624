"""Stored samples under other protocols: `python -m bench rescore`. Nothing is trained or sampled.

The run's own protocol comes first, out of the store; then each new one, over the same clips. So what differs between
two protocols is the dialect alone: resize, network, arithmetic. Claims are judged again under each.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.assemble import CLAIM_KEYS, write_json, write_lines
from bench.errors import Interrupted, UsageError
from bench.graph import Step
from bench.locks import Lock
from bench.measure import resolve_protocols
from bench.plan import ResolvedProtocol
from bench.runner import failures
from bench.scoring.conditions import safe_names
from bench.scoring.dialects import dialect_table
from bench.scoring.gather import curves, health, records_of
from bench.scoring.matching import Matched
from bench.scoring.plan import Scored, ScorePlan, SetPlan, Steps, System, ends_asked, given_samples, shape_of
from bench.scoring.runs import Made, StoredRun, open_run
from bench.scoring.score import render_page, told_json
from bench.scoring.setting import Common, Setting
from bench.scoring.sources import weights_of
from bench.scoring.words import read, words_of
from datasets.framefile import read_frames
from reports.record import Record, to_line

Key = tuple[str, str, str]  # question, variant, dataset
Place = tuple[str, int, bool]  # dataset, number of clips, whether the ends of clips are measured


@dataclass(frozen=True)
class RescoreOptions:
    """What the command line said."""

    run: Path
    protocols: tuple[str, ...]
    common: Common
    out: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return self.out or self.run / (
            "rescored-" + "-".join(safe_names([p.replace("/", "-") for p in self.protocols]))
        )


@dataclass
class Rescored:
    """A plan, the run that it is of, and the steps that judge its claims: (protocol, question, dataset)."""

    run: StoredRun
    setting: Setting
    plan: ScorePlan
    claims: dict[tuple[str, str, str], Step]


def rescore(options: RescoreOptions, as_json: bool = False) -> int:
    """Scores a run again and prints how far each number moves. Returns the exit code; raises UsageError."""
    again = prepare(options)
    folder, graph = options.folder, again.plan.graph
    try:
        outcome = again.setting.do(graph, folder)
    except Interrupted as stop:
        print(f"{stop}. Finished steps are kept: give the same command again to go on", file=sys.stderr)
        return stop.exit_code
    records, claims = _records(again), _claims(again)
    with Lock(folder / ".lock"):
        _write(again, folder, records, claims, outcome)
        page = render_page(folder)
    moved = dialect_table(records, claims) or "one protocol alone: name others with --protocol"
    print(told_json(records) if as_json else f"{moved}\n{page}")
    for line in failures(list(graph), outcome):
        print(line, file=sys.stderr)
    return 0 if outcome.complete else 1


def prepare(options: RescoreOptions) -> Rescored:
    """Checks everything and builds the plan; no step runs. Raises UsageError, BenchError."""
    run = open_run(options.run, options.common.store)
    profile = run.profile()
    setting = Setting.of(options.common, profile)
    sources = weights_of(profile, options.common.weights, setting.hashes)
    named = [name for name in run.spec.get("protocols", {}) if name == profile.protocol] or [profile.protocol]
    protocols = resolve_protocols([*named, *options.protocols], profile, sources)
    plan = ScorePlan(setting.profile, sources, protocols, profile.samples)
    steps, made = Steps(plan, setting.device, setting.hashes), list(run.made())
    if not made:
        raise UsageError(f"{options.run}: its records name no stored clips: there is nothing to score again")
    _check_shapes(made, protocols)
    again = Rescored(run, setting, plan, {})
    for protocol in protocols:
        _under(again, steps, made, protocol)
    return again


def _check_shapes(made: Sequence[Made], protocols: Sequence[ResolvedProtocol]) -> None:
    """Stored clips have one size and length; a protocol of another would score clips that were never made."""
    errors = []
    for protocol in protocols:
        shape = shape_of(protocol)
        for one in made:
            name = "frames.safetensors" if (one.clips.path / "frames.safetensors").is_file() else "clips.safetensors"
            count, length, height, width, _ = read_frames(one.clips.path / name).shape
            if count and (length, height, width) != (shape.frames, shape.height, shape.width):
                wanted = f"{shape.frames} frames of {shape.width}x{shape.height}"
                stored = f"the stored clips of {one.variant} are {length} frames of {width}x{height}"
                errors.append(f"--protocol {protocol.name} scores {wanted}; {stored}")
                break
    if errors:
        raise UsageError(errors)


def _under(again: Rescored, steps: Steps, made: Sequence[Made], protocol: ResolvedProtocol) -> None:
    """All steps of the run's clips under one protocol."""
    plan = again.plan
    seeds: dict[Key, dict[int, Step]] = {}
    alone: dict[Key, Step] = {}  # one set of another system's videos, which has no seeds
    real: dict[Place, Step] = {}
    sets: dict[str, SetPlan] = {}
    for one in made:
        of = sets.setdefault(
            one.dataset, SetPlan(one.dataset, again.run.folder, Matched([], True), None, None, one.world)
        )
        label = f"{one.variant} {one.dataset} {protocol.name}"
        mine = _steps_of(again, steps, one.question)
        place, ends = _place(again, mine, one.question, one.dataset), _ends(again, one.question)
        if one.reference is not None and place not in real:
            real[place] = mine.reference(protocol, one.dataset, one.reference, ends.get("", ()))
        reference = real.get(place) if one.reference is not None else None
        arrays = ends.get(one.variant, ends.get("", ()))
        features = mine.features(label, protocol, one.clips, one.conditions, ends=arrays)
        comparison = "baseline" if one.role == "baseline" else "generated"
        score = mine.score(label, protocol, one.dataset, features, reference, comparison, one.seed)
        whose = System(one.variant, one.label, one.question, one.role, one.seed)
        plan.scored.append(Scored(whose, of, protocol, score, reference, one.clips, features, notes=one.notes))
        if one.seed is not None:
            seeds.setdefault((one.question, one.variant, one.dataset), {})[one.seed] = features
        elif one.role == "variant":
            alone[one.question, one.variant, one.dataset] = features
    for (question, variant, dataset), features_of in seeds.items():
        first = next(m for m in made if (m.question, m.variant, m.dataset) == (question, variant, dataset))
        mine = _steps_of(again, steps, question)
        reference = real[_place(again, mine, question, dataset)]
        step = mine.aggregate(f"{variant} {dataset}", protocol, dataset, features_of, reference)
        whose = System(variant, first.label, question, first.role, None)
        plan.scored.append(Scored(whose, sets[dataset], protocol, step, reference, notes=first.notes))
    _judge(again, steps, protocol, {**_beside_all(alone, seeds), **seeds}, real)


def _beside_all(
    alone: Mapping[Key, Step], seeds: Mapping[Key, Mapping[int, Step]]
) -> dict[Key, dict[int, Step]]:
    """One set of videos stands beside every seed of the others, as in a run."""
    asked: dict[str, set[int]] = {}
    for (question, _, _), found in seeds.items():
        asked.setdefault(question, set()).update(found)
    return {key: {seed: step for seed in sorted(asked.get(key[0], ()))} for key, step in alone.items()}


def _steps_of(again: Rescored, steps: Steps, question: str) -> Steps:
    """For as many clips as a question was given: FVD is biased in their number."""
    return steps.limited(given_samples(again.run.spec.get("questions", {}), question))


def _ends(again: Rescored, question: str) -> dict[str, tuple[str, ...]]:
    """What is measured of the ends of a question's clips, as in its run."""
    return ends_asked(again.run.spec.get("questions", {}), question)


def _place(again: Rescored, mine: Steps, question: str, dataset: str) -> Place:
    """Which features of the real clips a question's are compared with."""
    return dataset, mine.samples, bool(_ends(again, question))


def _judge(
    again: Rescored,
    steps: Steps,
    protocol: ResolvedProtocol,
    seeds: Mapping[Key, Mapping[int, Step]],
    real: Mapping[Place, Step],
) -> None:
    """The claims of the run's questions, under this protocol."""
    for question, about in again.run.spec.get("questions", {}).items():
        claims = about.get("expect") or []
        named = list(dict.fromkeys(v for claim in claims for v in claim.get("better") or claim.get("larger") or ()))
        mine = _steps_of(again, steps, question)
        for (dataset, *_), reference in real.items():
            if reference is not real.get(_place(again, mine, question, dataset)):
                continue
            found = {variant: seeds.get((question, variant, dataset)) or {} for variant in named}
            inputs = {f"{v}.seed_{seed}": step for v, f in found.items() for seed, step in f.items()}
            if not inputs:
                continue
            step = mine.claims(protocol, question, dataset, claims, {"reference": reference, **inputs})
            again.claims[protocol.name, question, dataset] = step


def _records(again: Rescored) -> list[Record]:
    """In the order of a run: seeds, then their mean, protocol by protocol."""
    setting = again.setting
    return [r for scored in again.plan.scored for r in records_of(setting, scored, words_of(setting, scored))]


def _claims(again: Rescored) -> list[dict[str, Any]]:
    """Verdicts; Holm's correction runs over the claims of a question under one protocol."""
    from bench.metrics.judge import decide_lines

    family: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (protocol, question, dataset), step in again.claims.items():
        heard = read(again.setting.artifact(step), "claims.json") or []
        told = [{**line, "question": question, "dataset": dataset, "protocol": protocol} for line in heard]
        family.setdefault((protocol, question), []).extend(told)
    lines = [line for heard in family.values() for line in decide_lines(heard)]
    return [{key: value for key, value in line.items() if key in {*CLAIM_KEYS, "protocol"}} for line in lines]


def _write(
    again: Rescored, folder: Path, records: Sequence[Record], claims: Sequence[dict[str, Any]], outcome: Any
) -> None:
    """The folder of a run, with every protocol's records in it."""
    plan, setting, run = again.plan, again.setting, again.run
    words = [words_of(setting, scored) for scored in plan.scored]
    write_lines(folder / "records.jsonl", (to_line(record) for record in records))
    write_lines(folder / "claims.jsonl", (json.dumps(line, sort_keys=True, ensure_ascii=False) for line in claims))
    write_lines(folder / "extrapolation.jsonl", (json.dumps(line, sort_keys=True) for line in curves(setting, plan)))
    lines = setting.cost_lines(plan.graph, outcome)
    write_lines(folder / "costs.jsonl", (json.dumps(line, sort_keys=True, ensure_ascii=False) for line in lines))
    write_json(folder / "environment.json", setting.environment(outcome))
    protocols = {protocol.name: protocol.fields for protocol in plan.protocols}
    weights = {role: {"file": f.path.name, "sha256": f.digest} for role, f in plan.sources.weights.items()}
    write_json(folder / "spec.json", {**run.spec, "weights": weights, "protocols": protocols, "rescored": run.name})
    write_json(folder / "health.json", health(plan, words, records, outcome))
    write_json(folder / "plan.json", {"steps": _all_steps(again)})
    if (run.folder / "samples").is_dir() and not (folder / "samples").exists():
        shutil.copytree(run.folder / "samples", folder / "samples")


def _all_steps(again: Rescored) -> list[Any]:
    """The run's own steps stay named: the clips that were scored stand on them, and `store gc` keeps them."""
    new = again.plan.graph.to_json()
    known = {step["fingerprint"] for step in new}
    return [*(step for fingerprint, step in again.run.steps.items() if fingerprint not in known), *new]
