"""Does a table hold? An export of a run is measured anew and compared with its manifest, number by number.

Nothing is trained or sampled. Profile, protocol and number of videos come from the manifest; the reference is the
reviewer's own copy of the data set (or the procedural world), checked clip by clip against the manifest's list.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.assemble import BASELINE_LABELS, write_json
from bench.errors import Interrupted, UsageError
from bench.graph import Step
from bench.locks import Lock
from bench.measure import resolve_protocols
from bench.plan import ResolvedProtocol
from bench.profile import Profile
from bench.runner import failures
from bench.scoring.conditions import Conditions, read_conditions
from bench.scoring.frames import pixels_digest
from bench.scoring.gather import gather
from bench.scoring.matching import Item, Matched
from bench.scoring.outputs import Output, numbered, some
from bench.scoring.plan import (
    BASELINES,
    Scored,
    ScorePlan,
    SetPlan,
    Steps,
    System,
    ends_asked,
    given_samples,
    shape_of,
)
from bench.scoring.score import ScoreOptions, render_page, told_json
from bench.scoring.setting import Setting
from bench.scoring.sources import Reference, find_references, weights_of
from bench.scoring.table import score_table
from bench.scoring.words import read
from datasets.files import one_line, under_root
from datasets.framefile import read_frames
from reports.record import Record, from_dict

Json = dict[str, Any]
EXACT = ("value", "low", "high", "n")  # of a record: what must be the same
CLOSE = 1e-6  # relative: other processors and libraries give other last bits


@dataclass
class Check:
    """A plan that measures an export, and the sets whose numbers it makes."""

    manifest: Json
    setting: Setting
    plan: ScorePlan
    collects: dict[str, Step] = field(default_factory=dict)  # folder -> its videos, under the run's protocol
    clips: dict[str, Step] = field(default_factory=dict)  # data set -> real clips
    features: dict[tuple[str, str], Step] = field(default_factory=dict)  # (protocol, folder)


def recheck(options: ScoreOptions, manifest: Json, as_json: bool = False) -> int:
    """Measures an export and says whether its numbers hold. Returns 0 if all do, 1 if not; raises UsageError."""
    check = prepare(options, manifest)
    try:
        outcome = check.setting.do(check.plan.graph, options.folder)
    except Interrupted as stop:
        print(f"{stop}. Finished steps are kept: give the same command again to go on", file=sys.stderr)
        return stop.exit_code
    asked = {"question": f"Samples of {manifest['run']}, measured anew", "export": manifest["hash"]}
    with Lock(options.folder / ".lock"):
        records = gather(check.setting, check.plan, options.folder, outcome, asked, manifest["questions"])
        found = verdict(check, records)
        write_json(options.folder / "recheck.json", found)
        page = render_page(options.folder)
    if as_json:
        print(told_json(records))
    else:
        print("\n".join([score_table(records), *told(found), str(page)]))
    for line in failures(list(check.plan.graph), outcome):
        print(line, file=sys.stderr)
    return 0 if outcome.complete and found["holds"] else 1


def prepare(options: ScoreOptions, manifest: Json) -> Check:
    """Builds the plan; no step runs. Raises UsageError."""
    try:
        profile = Profile.model_validate(manifest["profile"])
    except ValidationError as error:
        raise UsageError(f"{options.videos}: its profile cannot be read by this version: {error}") from None
    setting = Setting.of(options.common, profile)
    sources = weights_of(profile, options.common.weights, setting.hashes)
    protocols = resolve_protocols([manifest["protocol"]["name"], *options.protocols], profile, sources)
    _check_protocol(manifest, protocols[0])
    references = {r.dataset: r for r in find_references(profile, options.reference, setting.hashes)}
    absent = [name for name in manifest["datasets"] if name not in references]
    if absent:
        raise UsageError([f"{options.videos} was compared with real clips of {name}: give --reference {name}=DIR "
                          f"(or {name}=world for the procedural ones)" for name in absent])  # fmt: skip
    check = Check(manifest, setting, ScorePlan(setting.profile, sources, protocols, profile.samples))
    try:
        for dataset in manifest["datasets"]:
            _set(check, options.videos, references[dataset], dataset)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise UsageError(f"{options.videos}: {error}") from None
    return check


def _check_protocol(manifest: Json, protocol: ResolvedProtocol) -> None:
    """The protocol of that name must be the one that the run was scored by."""
    then = {one["field"]: one["value"] for one in manifest["protocol"]["fields"]}
    now = protocol.config["values"]
    differ = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if differ:
        told = [f"{name} was {then.get(name)!r}, is {now.get(name)!r}" for name in differ]
        raise UsageError(f"protocol {protocol.name} has changed since the export: {'; '.join(told)}")


def _set(check: Check, root: Path, reference: Reference, dataset: str) -> None:
    """All steps of one data set, under every protocol."""
    conditions = read_conditions(root / "conditions" / dataset)
    sets = [one for one in check.manifest["sets"] if one["dataset"] == dataset]
    items = {one["folder"]: _items(check.manifest, root, one["folder"], conditions) for one in sets}
    world = check.manifest["datasets"][dataset]["world"]
    of = SetPlan(dataset, root, Matched([], True), reference, conditions, world)
    check.plan.sets.append(of)
    steps = Steps(check.plan, check.setting.device, check.setting.hashes)
    for protocol in check.plan.protocols:
        _under(check, steps, of, protocol, sets, items)


def _items(manifest: Json, root: Path, folder: str, conditions: Conditions) -> list[Item]:
    """The videos of one folder, as the manifest lists them. Raises ValueError for one that is not there."""
    inputs = {item.id: conditions.folder / item.file for item in conditions.items}
    found = []
    for told in manifest["folders"][folder]["items"]:
        path = under_root(root, f"{folder}/{told['file']}", "manifest.json")
        pictures = numbered(sorted(path.iterdir())) if path.is_dir() else ()
        if not pictures and not path.is_file():
            raise ValueError(f"{folder}/{told['file']} is not there")
        output = Output(told["file"], path, pictures)
        found.append(Item(told["id"], output, inputs.get(told["id"]), told["prompt"]))
    return found


def _under(
    check: Check,
    steps: Steps,
    of: SetPlan,
    protocol: ResolvedProtocol,
    sets: Sequence[Json],
    items: Mapping[str, Sequence[Item]],
) -> None:
    """The export's sets of one data set under one protocol, their means and the baselines."""
    plan, name = check.plan, protocol.name
    assert of.reference is not None, "checked when the plan is made"
    clips = of.clips[name] = steps.clips(of.reference, protocol)
    check.clips.setdefault(of.dataset, clips)
    told = check.manifest.get("questions", {})
    asked = {question: steps.limited(given_samples(told, question)) for question in _asked(sets)}
    ends = {question: ends_asked(told, question) for question in asked}
    real = {
        question: mine.reference(protocol, of.dataset, clips, ends[question].get("", ()))
        for question, mine in asked.items()
    }
    shape, seeds = shape_of(protocol), dict[tuple[str, str], dict[int, Step]]()
    for one in sets:
        folder, mine = one["folder"], asked[one["question"]]
        reference, own = real[one["question"]], ends[one["question"]]
        label = f"{folder} {name}"
        collect = mine.collect(label, items[folder], shape, clips)
        check.collects.setdefault(folder, collect)
        of.collect.setdefault(name, collect)
        pictures = of.pictures[name] = steps.pictures(of.dataset, items[folder], shape)
        arrays = own.get(one["variant"], own.get("", ()))
        features = mine.features(label, protocol, collect, clips if arrays else pictures, ends=arrays)
        whose = System(one["variant"], one["label"], one["question"], one["role"], one["seed"])
        score = mine.score(label, protocol, of.dataset, features, reference, _comparison(one), one["seed"])
        notes = tuple(one["notes"])
        plan.scored.append(Scored(whose, of, protocol, score, reference, collect, features, notes=notes))
        if one["seed"] is not None:
            seeds.setdefault((one["question"], one["variant"]), {})[one["seed"]] = features
    for (question, variant), of_seed in seeds.items():
        first = next(one for one in sets if (one["question"], one["variant"]) == (question, variant))
        mine = asked[question]
        reference = real[question]
        step = mine.aggregate(f"{variant} {of.dataset}", protocol, of.dataset, of_seed, reference)
        whose = System(variant, first["label"], question, first["role"], None)
        plan.scored.append(Scored(whose, of, protocol, step, reference, notes=tuple(first["notes"])))
    for question, mine in asked.items():
        _baselines(mine, of, protocol, clips, real[question], question, ends[question].get("", ()))


def _asked(sets: Sequence[Json]) -> list[str]:
    """The questions that the sets are of, each once."""
    return list(dict.fromkeys(one["question"] for one in sets))


def _comparison(one: Json) -> str:
    """As the run's plan called it, so that a step that the store has is the same step."""
    return "baseline" if one["seed"] is None else "generated"


def _baselines(
    steps: Steps,
    of: SetPlan,
    protocol: ResolvedProtocol,
    clips: Step,
    reference: Step,
    question: str,
    ends: Sequence[str],
) -> None:
    for one in BASELINES:
        made = steps.baseline(of.dataset, one, clips)
        features = steps.features(f"{one} {of.dataset}", protocol, made, clips, ends=ends)
        score = steps.score(f"{one} {of.dataset}", protocol, of.dataset, features, reference, "baseline", None)
        whose = System(one, BASELINE_LABELS[one], question, "baseline")
        steps.plan.scored.append(Scored(whose, of, protocol, score, reference, made, features))


KEY = ("question", "variant", "dataset", "seed", "metric", "features", "protocol")


def verdict(check: Check, records: Sequence[Record]) -> Json:
    """What agrees with the manifest and what does not: {holds, numbers, agree, exact, differ, videos, reference}."""
    manifest, setting = check.manifest, check.setting
    then = [from_dict(told, "manifest.json") for told in manifest["records"]]
    now = {_key(record): record for record in records}
    pairs = [(old, now.get(_key(old))) for old in then]
    differ = [line for old, new in pairs if (line := _line(old, new)) is not None]
    exact = sum(new is not None and all(getattr(old, n) == getattr(new, n) for n in EXACT) for old, new in pairs)
    videos = [
        f"{folder}/{told['file']}"
        for folder, about in manifest["folders"].items()
        for told in _changed(setting, check.collects[folder], about["items"])
    ]
    real = [
        f"{dataset} {told['id']}"
        for dataset, about in manifest["datasets"].items()
        for told in _other_clips(setting, check.clips[dataset], about["reference"])
    ]
    numbers = {"numbers": len(then), "agree": len(then) - len(differ), "exact": exact, "differ": differ}
    return {"holds": not (differ or videos or real), **numbers, "videos": videos, "reference": real}


def _line(old: Record, new: Record | None) -> Json | None:
    """Where a number is not the run's: its key, and each part that differs, then and now; None where it is."""
    about = dict(zip(KEY, _key(old), strict=True))
    if new is None:
        return {**about, "differs": {}}
    parts = [name for name in EXACT if not _same(old, new, name)]
    return {**about, "differs": {n: [getattr(old, n), getattr(new, n)] for n in parts}} if parts else None


def _same(old: Record, new: Record, name: str) -> bool:
    """Equal, or as near as two kinds of machine come."""
    a, b = getattr(old, name), getattr(new, name)
    return a == b if a is None or b is None else math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE)


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in KEY)


def _changed(setting: Setting, collect: Step, told: Sequence[Json]) -> list[Json]:
    """Videos whose frames are not those of the manifest."""
    items = read(setting.artifact(collect), "items.json") or []
    found = {item["id"]: item["pixels"] for item in items}
    return [one for one in told if found.get(one["id"]) != one["pixels"]]


def _other_clips(setting: Setting, clips: Step, told: Sequence[Json]) -> list[Json]:
    """Reference clips of the manifest that the reviewer's copy does not give."""
    folder = setting.artifact(clips)
    if folder is None:
        return list(told)
    items = (read(folder, "items.json") or [])[: len(told)]
    frames = read_frames(folder / "clips.safetensors")
    found = {item["id"]: pixels_digest(clip) for item, clip in zip(items, frames[: len(items)], strict=True)}
    return [one for one in told if found.get(one["id"]) != one["pixels"]]


def told(found: Json) -> list[str]:
    """The verdict in lines, each on one line whatever names are in it."""
    return [one_line(line) for line in _told(found)]


def _told(found: Json) -> list[str]:
    word, count = "ok" if found["holds"] else "FAIL", found["numbers"]
    said = [f"{word}: {found['agree']} of {count} numbers are the run's, {found['exact']} of them to the last bit"]
    for one in found["differ"]:
        where = " ".join(str(one[name]) for name in KEY if one[name] is not None)
        pairs = [f"{name} {old} then, {new} now" for name, (old, new) in one["differs"].items()]
        said.append(f"  differs: {where}: {'; '.join(pairs) or 'not there now'}")
    for what, names in (("videos", found["videos"]), ("reference clips", found["reference"])):
        if names:
            said.append(f"  {len(names)} {what} are not those of the manifest: {some(names)}")
    return said
