"""What `bench plan` prints: what would run, what is shared, what is done already, rough time and disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bench.graph import Step, path_costs
from bench.progress import duration
from bench.sources import EVALUATION, missing
from bench.store import Store

if TYPE_CHECKING:
    from bench.runner import Prepared

MOST_LINES = 60  # training and sampling steps that the table lists one by one


def plan_text(prepared: Prepared, store: Store) -> str:
    """The plan for a person."""
    plan, done = prepared.plan, _done(prepared, store)
    steps = list(plan.graph)
    todo = [step for step in steps if step.fingerprint not in done]
    parts = [
        f"{len(plan.questions)} questions, {len(plan.variants)} variants, "
        f"seeds {_listed(plan.profile.seeds)}, "
        f"{plan.profile.samples} samples per variant and dataset, profile {plan.profile.name}",
        _kinds(steps, done),
        _training(prepared, done),
        _sharing(prepared),
        *_sources(prepared),
        _total(prepared, todo),
    ]
    return "\n\n".join(part for part in parts if part)


def plan_json(prepared: Prepared, store: Store) -> dict[str, Any]:
    """The plan for a program."""
    plan, done = prepared.plan, _done(prepared, store)
    steps = {step.fingerprint: step for step in plan.graph}
    lines = [
        {
            **line,
            "done": line["fingerprint"] in done,
            "cpu_seconds": steps[line["fingerprint"]].cost,
            "bytes": steps[line["fingerprint"]].disk,
        }
        for line in plan.graph.to_json()
    ]
    todo = [step for f, step in steps.items() if f not in done]
    return {
        "profile": plan.profile.name,
        "steps": lines,
        "todo": len(todo),
        "cpu_seconds": round(sum(step.cost for step in todo), 1),
        "seconds": round(_seconds(prepared, todo), 1),
        "bytes": round(sum(step.disk for step in todo)),
        "missing": [f.digest.partition(":")[2] for f in plan.graph.missing_files()],
    }


def _done(prepared: Prepared, store: Store) -> set[str]:
    return {s.fingerprint for s in prepared.plan.graph if store.has(s.kind, s.fingerprint)}


def _kinds(steps: Iterable[Step], done: set[str]) -> str:
    """A line per kind of step."""
    by_kind: dict[str, list[Step]] = {}
    for step in steps:
        by_kind.setdefault(step.kind, []).append(step)
    rows = [("step", "in all", "done", "to do", "CPU time", "disk")]
    for kind, some in by_kind.items():
        todo = [step for step in some if step.fingerprint not in done]
        rows.append(
            (
                kind,
                str(len(some)),
                str(len(some) - len(todo)),
                str(len(todo)),
                duration(sum(step.cost for step in todo)) if todo else "-",
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
            users = dict.fromkeys(f"{q}.{v}" for q, v, seed in plan.graph.users[step.fingerprint] if seed is not None)
            state = "done" if step.fingerprint in done else ""
            rows.append((step.label, str(step.config["steps"]), ", ".join(users), state))
    shipped = dict.fromkeys(
        f"  stage {t.stage.name} ships as {t.source.path.name}"
        for built in plan.variants.values()
        for stages in built.training.values()
        for t in stages
        if t.step is None and not isinstance(t.source, Step)
    )
    return "\n".join([_table(rows), *shipped]) if len(rows) > 1 or shipped else "Nothing is trained."


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


def _seconds(prepared: Prepared, todo: list[Step]) -> float:
    """At least the longest path, at least all the work over all workers."""
    costs = {s.fingerprint: 0.0 for s in prepared.plan.graph} | {s.fingerprint: s.cost for s in todo}
    longest = max(path_costs(prepared.plan.graph, costs).values(), default=0.0)
    return max(longest, sum(step.cost for step in todo) / prepared.workers)


def _total(prepared: Prepared, todo: list[Step]) -> str:
    if not todo:
        return "Nothing to do: every step is in the store."
    cpu, disk = sum(step.cost for step in todo), sum(step.disk for step in todo)
    where = "GPU" if prepared.devices[0] != "cpu" else "CPU"
    return (
        f"To do: {len(todo)} of {len(prepared.plan.graph)} steps, roughly {duration(cpu)} of {where} time, "
        f"{duration(_seconds(prepared, todo))} on {prepared.workers} workers, {size(disk)} of disk"
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
