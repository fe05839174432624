"""What `bench plan` prints: what would run, what is shared, what is done already, rough time and disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bench.costs import Costing
from bench.graph import Step
from bench.plan_paper import Asked, Paper, assumed_of, on_paper, paper_text
from bench.progress import duration
from bench.sources import EVALUATION, missing
from bench.store import Store

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.runner import Prepared

FEW = 3  # variants of a question that a line of the table names
MOST_LINES = 60  # training and sampling steps that the table lists one by one


def plan_text(prepared: Prepared, store: Store, asked: Asked | None = None) -> str:
    """The plan for a person; `asked`: on which machines. Raises UsageError for machines that cannot be."""
    plan, done = prepared.plan, _done(prepared, store)
    steps = list(plan.graph)
    todo = [step for step in steps if step.fingerprint not in done]
    paper = _paper(prepared, todo, asked)
    parts = [
        f"{len(plan.questions)} questions, {len(plan.variants)} variants, "
        f"seeds {_listed(plan.profile.seeds)}, "
        f"{plan.profile.samples} samples per variant and dataset, profile {plan.profile.name}{_smaller(plan)}",
        _kinds(steps, done, paper.costing),
        _training(prepared, done),
        _sharing(prepared),
        *_sources(prepared),
        _total(prepared, todo, paper),
        paper_text(paper) if todo else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _smaller(plan: Plan) -> str:
    """Questions that ask for fewer samples or seeds than the run has."""
    whole = (plan.profile.samples, len(plan.profile.seeds))
    asked = {name: (one.samples, len(one.seeds)) for name, one in plan.extents.items()}
    told = [
        f"{name}: {samples} samples{'' if seeds == whole[1] else f', {seeds} seeds'}"
        for name, (samples, seeds) in asked.items()
        if (samples, seeds) != whole
    ]
    return "".join(f"\n  {line}" for line in told)


def plan_json(prepared: Prepared, store: Store, asked: Asked | None = None) -> dict[str, Any]:
    """The plan for a program; arguments and errors as `plan_text`."""
    plan, done = prepared.plan, _done(prepared, store)
    steps = {step.fingerprint: step for step in plan.graph}
    todo = [step for f, step in steps.items() if f not in done]
    paper = _paper(prepared, todo, asked)
    costing = paper.costing
    lines = [
        {
            **line,
            "done": line["fingerprint"] in done,
            "cpu_seconds": round(costing.alone(steps[line["fingerprint"]]), 3),
            "operations": costing.operations(steps[line["fingerprint"]]),
            "bytes": steps[line["fingerprint"]].disk,
        }
        for line in plan.graph.to_json()
    ]
    return {
        "profile": plan.profile.name,
        "steps": lines,
        "todo": len(todo),
        "cpu_seconds": round(_work(todo, costing), 1),
        "seconds": round(_wall(paper), 1),
        "bytes": round(sum(step.disk for step in todo)),
        "missing": [f.digest.partition(":")[2] for f in plan.graph.missing_files()],
        "paper": paper.to_json(),
    }


def _paper(prepared: Prepared, todo: list[Step], asked: Asked | None) -> Paper:
    profile = prepared.plan.profile
    assumed = assumed_of(asked or Asked(), profile, prepared.workers)
    return on_paper(prepared.plan.graph, todo, Costing(profile, assumed))


def _work(todo: list[Step], costing: Costing) -> float:
    """Seconds of one device, and what its worker processes take to start."""
    assumed = costing.assumed
    workers = min(assumed.at_once, len(todo)) if assumed.gpu is None else 0
    return sum(costing.alone(step) for step in todo) + workers * costing.profile.costs.worker


def _wall(paper: Paper) -> float:
    """Seconds by the clock, a worker's start among them."""
    return paper.times.wall + (paper.costing.profile.costs.worker if paper.times.work else 0.0)


def _done(prepared: Prepared, store: Store) -> set[str]:
    return {s.fingerprint for s in prepared.plan.graph if store.has(s.kind, s.fingerprint)}


def _kinds(steps: Iterable[Step], done: set[str], costing: Costing) -> str:
    """A line per kind of step."""
    device = costing.assumed.gpu
    by_kind: dict[str, list[Step]] = {}
    for step in steps:
        by_kind.setdefault(step.kind, []).append(step)
    rows = [("step", "in all", "done", "to do", f"{device or 'CPU'} time", "disk")]
    for kind, some in by_kind.items():
        todo = [step for step in some if step.fingerprint not in done]
        rows.append(
            (
                kind,
                str(len(some)),
                str(len(some) - len(todo)),
                str(len(todo)),
                duration(sum(map(costing.alone, todo))) if todo else "-",
                size(sum(step.disk for step in todo)) if todo else "-",
            )
        )
    return _table(rows)


def _training(prepared: Prepared, done: set[str]) -> str:
    """A line per training step: stage, who shares it, whether it is done."""
    plan = prepared.plan
    rows = [("training", "optimiser steps", "used by", "")]
    for step in plan.graph:
        if step.kind == "train" and len(rows) <= MOST_LINES:
            mine = plan.graph.users[step.fingerprint]
            users = _used_by(dict.fromkeys((q, v) for q, v, seed in mine if seed is not None))
            state = "done" if step.fingerprint in done else ""
            rows.append((step.label, str(step.config["steps"]), users, state))
    shipped = dict.fromkeys(
        f"  stage {t.stage.name} ships as {t.source.path.name}"
        for built in plan.variants.values()
        for stages in built.training.values()
        for t in stages
        if t.step is None and not isinstance(t.source, Step)
    )
    return "\n".join([_table(rows), *shipped]) if len(rows) > 1 or shipped else "Nothing is trained."


def _used_by(users: Iterable[tuple[str, str]]) -> str:
    """'dual_stream.full, text_guidance.full and 16 more': by question; variants that share all training are many."""
    found: dict[str, list[str]] = {}
    for question, variant in users:
        found.setdefault(question, []).append(f"{question}.{variant}")
    return ", ".join(
        f"{names[0]} and {len(names) - 1} more" if len(names) > FEW else ", ".join(names) for names in found.values()
    )


def _sharing(prepared: Prepared) -> str:
    """How many steps the questions would need one by one."""
    plan = prepared.plan
    alone = sum(len({(q, v, s) for q, v, s in users}) or 1 for users in plan.graph.users.values())
    return f"Shared: {len(plan.graph)} steps serve {alone} uses; equal work is done once."


def _sources(prepared: Prepared) -> list[str]:
    plan = prepared.plan
    found = [
        f"Data {role}: {own.root} ({own.catalog}, content {own.content[:12]})"
        for role, own in plan.sources.data.items()
    ]
    used = (*(("train",) if plan.train_clips else ()), *plan.evaluation)
    kept = [role for role in used if role not in plan.sources.data]
    if kept and plan.profile.world is not None:
        found.append(f"Data {', '.join(kept)}: the procedural world")
    left_out = [role for role in EVALUATION if role not in plan.evaluation]
    if left_out:
        found.append(f"Data {', '.join(left_out)}: not given, not evaluated (--data {left_out[0]}=DIR)")
    found += [f"{q}.{v}: {note}" for (q, v), notes in plan.notes.items() for note in notes]
    found += [f"Not there yet: {line}" for line in missing(plan.graph.missing_files())]
    return ["\n".join(found)]


def _total(prepared: Prepared, todo: list[Step], paper: Paper) -> str:
    if not todo:
        return "Nothing to do: every step is in the store."
    assumed, disk = paper.assumed, sum(step.disk for step in todo)
    work, wall = duration(_work(todo, paper.costing)), duration(_wall(paper))
    return (
        f"To do: {len(todo)} of {len(prepared.plan.graph)} steps, roughly {work} of {assumed.gpu or 'CPU'} time, "
        f"{wall} with {assumed.at_once} steps at once, {size(disk)} of disk"
    )


def size(count: float) -> str:
    """Bytes in words: "3.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
