"""How do finished steps become a score's folder? Records, health, costs and previews, as a run has them.

`python -m bench report FOLDER` makes the page again from these files. Source: `reports/record.py`, the run folder of
`bench/assemble.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.assemble import write_json, write_lines
from bench.engine import Outcome
from bench.evidence import LEFT
from bench.graph import File, Step
from bench.previews import write_picture, write_video
from bench.scoring.plan import Scored, ScorePlan, SetPlan
from bench.scoring.setting import Setting
from bench.scoring.words import Words, read, words_of
from datasets.framefile import read_frames
from reports.record import SCHEMA_VERSION, Record, from_dict, to_line
from reports.words import LOWER_IS_BETTER

NETWORKS = ("classifier", "perceptual", "i3d", "dreamsim", "lpips", "clip")


def record_of(
    left: Mapping[str, Any], about: Mapping[str, Any], notes: Sequence[str], comparable: bool, prints: Mapping[str, str]
) -> Record:
    """A record that a scoring step left, completed. Raises ValueError for one that cannot be."""
    return from_dict(
        {
            **left,
            **about,
            "schema": SCHEMA_VERSION,
            "notes": list(dict.fromkeys([*left.get("notes", []), *notes])),
            "comparable": left["comparable"] and comparable,
            "fingerprints": {**left.get("fingerprints", {}), **prints},
        },
        str(about["variant"]),
    )


def prints_of(scored: Scored) -> dict[str, str]:
    """Everything that a number stands on, by role."""
    found = {scored.score.kind: scored.score.fingerprint, "protocol": scored.protocol.config["hash"]}
    if scored.reference is not None:
        found["reference"] = scored.reference.fingerprint
    if scored.clips is not None and scored.features is not None:
        found |= {"clips": _digest(scored.clips), "features": scored.features.fingerprint}
        networks = {role: source for role, source in scored.features.inputs.items() if role in NETWORKS}
        found |= {role: _digest(source) for role, source in networks.items()}
    return found


def _digest(source: Step | File) -> str:
    return source.fingerprint if isinstance(source, Step) else source.digest


def about_of(scored: Scored) -> dict[str, Any]:
    """Whose numbers these are."""
    system, of = scored.system, scored.of
    return {
        "question": system.question,
        "variant": system.name,
        "label": system.label,
        "role": system.role,
        "seed": system.seed,
        "dataset": of.dataset,
        "world": of.world,
    }


def records_of(setting: Setting, scored: Scored, words: Words) -> Iterator[Record]:
    """The records of one set of clips under one protocol."""
    for left in read(setting.artifact(scored.score), "records.json") or []:
        if scored.metrics(left["metric"]):
            yield record_of(left, about_of(scored), words.all, not words.reasons, prints_of(scored))


def gather(
    setting: Setting,
    plan: ScorePlan,
    folder: Path,
    outcome: Outcome,
    asked: Mapping[str, Any],
    questions: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Writes the folder; returns its records.

    `asked`: what the command was given, for spec.json; `questions`: of the run whose samples these are.
    """
    words = [words_of(setting, scored) for scored in plan.scored]
    records = [r for scored, said in zip(plan.scored, words, strict=True) for r in records_of(setting, scored, said)]
    records = in_order(records)
    write_lines(folder / "records.jsonl", (to_line(record) for record in records))
    write_lines(folder / "claims.jsonl", ())
    write_lines(folder / "curves.jsonl", ())
    write_lines(folder / "extrapolation.jsonl", map(_line, curves(setting, plan)))
    write_lines(folder / "costs.jsonl", map(_line, setting.cost_lines(plan.graph, outcome)))
    write_json(folder / "environment.json", setting.environment(outcome))
    write_json(folder / "spec.json", spec_json(setting, plan, asked, questions))
    found = health(plan, words, records, outcome)
    found["notes"] += [f"left out: {line}" for line in asked.get("left_out", ())]
    write_json(folder / "health.json", found)
    write_json(
        folder / "samples" / "index.json", [entry for of in plan.sets for entry in previews(setting, plan, of, folder)]
    )
    write_json(folder / "plan.json", {"steps": plan.graph.to_json()})
    return records


def in_order(records: Sequence[Record]) -> list[Record]:
    """FVD, KVD, PIC, then the others, of each variant in turn."""
    whose = list(dict.fromkeys((r.protocol, r.dataset, r.question, r.variant) for r in records))
    place = {key: k for k, key in enumerate(whose)}
    metrics = [*LOWER_IS_BETTER, *dict.fromkeys(r.metric for r in records)]

    def key(r: Record) -> tuple[int, int, int]:
        seed = 1 << 40 if r.seed is None else r.seed
        return place[r.protocol, r.dataset, r.question, r.variant], seed, metrics.index(r.metric)

    return sorted(records, key=key)


def curves(setting: Setting, plan: ScorePlan) -> Iterator[dict[str, Any]]:
    """FVD against the number of videos, a line for each scoring step that could say."""
    for scored in plan.scored:
        about = {key: value for key, value in about_of(scored).items() if key != "world"}
        for curve in read(setting.artifact(scored.score), LEFT) or []:
            yield {**curve, **about}


def _line(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def spec_json(
    setting: Setting, plan: ScorePlan, asked: Mapping[str, Any], questions: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What was asked, as it was resolved."""
    systems = {s.system.name: {"label": s.system.label} for s in plan.scored if s.system.role == "variant"}
    own = {"question": asked["question"], "source": "", "variants": systems, "expect": []}
    data = {
        of.dataset: {"root": str(of.reference.data.root), "catalog": of.dataset, "content": of.reference.data.content}
        for of in plan.sets
        if of.reference is not None and of.reference.data is not None
    }
    return {
        "questions": questions or {"score": own},
        "profile": setting.profile.model_copy(update={"samples": plan.samples}).model_dump(mode="json"),
        "data": data,
        "weights": {role: {"file": f.path.name, "sha256": f.digest} for role, f in plan.sources.weights.items()},
        "protocols": {protocol.name: protocol.fields for protocol in plan.protocols},
        "score": dict(asked),
    }


def health(plan: ScorePlan, words: Sequence[Words], records: Sequence[Record], outcome: Outcome) -> dict[str, Any]:
    """What was damaged, set aside, missing or not comparable, each once."""
    labels = {step.fingerprint: step.label for step in plan.graph}
    failed = [{"id": labels[f], "reason": error} for f, error in outcome.failed.items()]
    whole = [f"{s.of.dataset}: {note}" for s, said in zip(plan.scored, words, strict=True) for note in said.notes]
    not_comparable = [
        f"{r.dataset} {r.metric} ({r.features}, {r.protocol}): n = {r.n}. "
        + "; ".join(note.removeprefix("not comparable: ") for note in r.notes if note.startswith("not comparable"))
        for r in records
        if not r.comparable and r.role == "variant"
    ]
    return {
        "damaged": _once(line for said in words for line in said.damaged),
        "set_aside": _once(line for said in words for line in said.set_aside),
        "missing": [*_once(line for said in words for line in said.missing), *failed],
        "not_comparable": list(dict.fromkeys(not_comparable)),
        "notes": list(dict.fromkeys(whole)),
        "alive": [],
    }


def _once(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(line, sort_keys=True): line for line in lines}.values())


def previews(setting: Setting, plan: ScorePlan, of: SetPlan, folder: Path) -> list[dict[str, Any]]:
    """The first videos of a set as small files, beside their inputs and the real clips; their index."""
    scored = next(s for s in plan.scored if s.of is of and s.system.role == "variant")
    name, base = scored.protocol.name, folder / "samples" / of.dataset
    made = setting.artifact(of.collect[name])
    items = (read(made, "items.json") or [])[: setting.profile.previews]
    sources = {scored.system.name: (made, "frames.safetensors")}
    real = setting.artifact(of.clips[name]) if name in of.clips else None
    sources |= {"real": (real, "clips.safetensors")} if real is not None else {}
    pictures = setting.artifact(of.pictures[name]) if name in of.pictures else None
    sources |= {"condition": (pictures, "clips.safetensors")} if pictures is not None else {}
    index = []
    for n, item in enumerate(items):
        files = {}
        for name, (artifact, file) in sources.items():
            clip = _clip(artifact, file, item["id"])
            if clip is None:
                continue
            path = base / _folder_name(name) / f"{n}{'.png' if name == 'condition' else '.mp4'}"
            write_picture(path, clip[0]) if name == "condition" else write_video(path, clip)
            files[name] = path.relative_to(folder).as_posix()
        index.append(
            {"dataset": of.dataset, "n": n, "id": item["id"], "prompt": item.get("prompt") or "", "files": files}
        )
    return index


def _folder_name(name: str) -> str:
    from bench.scoring.conditions import safe_names

    return safe_names([name])[0]


def _clip(artifact: Path | None, file: str, name: str) -> Any:
    """One clip of an artifact by its id, None if it has none."""
    ids = [item["id"] for item in read(artifact, "items.json") or []]
    return read_frames(artifact / file)[ids.index(name)] if artifact is not None and name in ids else None
