"""Any system's videos -> numbers with protocol and interval: `python -m bench score`.

VIDEOS is one data set's, or holds a folder for each (ucf101/, msrvtt/), as `bench conditions` lays its exports out.
FVD and KVD need a reference, PIC needs inputs; what is missing is left out with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.assemble import BASELINE_LABELS
from bench.errors import BenchError, Interrupted, UsageError
from bench.locks import Lock
from bench.measure import resolve_protocols
from bench.plan import ResolvedProtocol
from bench.runner import failures
from bench.scoring.conditions import Conditions, find_conditions, read_conditions, safe_names
from bench.scoring.dialects import dialect_table
from bench.scoring.gather import gather
from bench.scoring.ids import names_of
from bench.scoring.matching import Matched, Names, match_outputs
from bench.scoring.outputs import some
from bench.scoring.plan import BASELINES, Scored, ScorePlan, SetPlan, Steps, System, shape_of
from bench.scoring.setting import RUNS, Common, Setting
from bench.scoring.sources import DATASETS, Reference, find_references, weights_of
from bench.scoring.table import score_table
from datasets.files import one_line, printable
from reports.record import Record, to_line


@dataclass(frozen=True)
class ScoreOptions:
    """What the command line said."""

    videos: Path
    common: Common
    reference: tuple[str, ...] = ()
    inputs: Path | None = None
    captions: Path | None = None
    matches: Path | None = None
    protocols: tuple[str, ...] = ()
    name: str | None = None
    out: Path | None = None
    unpaired: bool = False
    baselines: bool = True

    @property
    def system(self) -> str:
        """The system's name: as given, else the folder's."""
        return self.name or printable(self.videos.resolve().name)

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        return self.out or RUNS / f"score-{safe_names([self.system])[0]}"


def score(options: ScoreOptions, as_json: bool = False) -> int:
    """Scores videos, writes the folder and prints the table. Returns the exit code; raises UsageError.

    An export of a run is measured anew and compared with its manifest.
    """
    manifest = _manifest(options.videos)
    if manifest is not None:
        from bench.scoring.recheck import recheck

        return recheck(options, manifest, as_json)
    setting, plan = prepare(options)
    try:
        outcome = setting.do(plan.graph, options.folder)
    except Interrupted as stop:
        print(f"{stop}. Finished steps are kept: give the same command again to go on", file=sys.stderr)
        return stop.exit_code
    asked = {"question": f"Videos from outside: {options.system}", "left_out": left_out(plan)}
    with Lock(options.folder / ".lock"):
        records = gather(setting, plan, options.folder, outcome, asked)
        page = render_page(options.folder)
    print(told_json(records) if as_json else told(records, plan, page))
    for line in failures(list(plan.graph), outcome):
        print(line, file=sys.stderr)
    return 0 if outcome.complete else 1


def _manifest(folder: Path) -> dict[str, Any] | None:
    from bench.scoring.export import read_manifest

    try:
        return read_manifest(folder)
    except ValueError as error:
        raise UsageError(str(error)) from None


def render_page(folder: Path) -> Path:
    """Makes the report of a folder; returns the page."""
    from reports.render import render

    try:
        return render(folder).html
    except ValueError as error:
        raise BenchError(f"{folder}: the report cannot be made: {error}") from None


def told_json(records: Sequence[Record]) -> str:
    """All records, as `run --json` prints them."""
    return "[" + ",\n ".join(to_line(record) for record in records) + "]"


def told(records: Sequence[Record], plan: ScorePlan, page: Path) -> str:
    """What a person reads: the table, how far the dialect moves it, what was left out, where the page is."""
    dialects = dialect_table(records)
    parts = [score_table(records), *([f"\n{dialects}\n"] if dialects else [])]
    return "\n".join([*parts, *(f"left out: {one_line(line)}" for line in left_out(plan)), str(page)])


def left_out(plan: ScorePlan) -> list[str]:
    """Metrics that could not be computed, and why."""
    said = []
    for of in plan.sets:
        where = "" if len(plan.sets) == 1 else f"{of.dataset}: "
        without = [item.id for item in of.matched.items if item.input is None]
        if of.reference is None:
            said.append(f"{where}FVD and KVD: no real videos to compare with; give --reference NAME=DIR")
        if len(without) == len(of.matched.items):
            said.append(f"{where}PIC: no input pictures; give --inputs DIR (pictures named as the videos)")
        elif without:
            said.append(f"{where}PIC of {len(without)} videos without an input picture: {some(without)}")
    return said


def prepare(options: ScoreOptions) -> tuple[Setting, ScorePlan]:
    """Checks everything and builds the plan; no step runs. Raises UsageError."""
    _check_paths(options)
    setting = Setting.of(options.common)
    sources = weights_of(setting.profile, options.common.weights, setting.hashes)
    protocols = resolve_protocols(options.protocols, setting.profile, sources)
    references = find_references(setting.profile, options.reference, setting.hashes)
    try:
        conditions = _conditions(options, [reference.dataset for reference in references])
        sets = _sets(options, setting, references, conditions)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from None
    plan = ScorePlan(setting.profile, sources, protocols, _samples(options, setting, conditions))
    steps = Steps(plan, setting.device, setting.hashes)
    for of in sets:
        plan.sets.append(of)
        for protocol in protocols:
            _add(steps, of, protocol, System(options.system, options.system), options.baselines)
    return setting, plan


def _check_paths(options: ScoreOptions) -> None:
    wanted = {"VIDEOS": options.videos, "--inputs": options.inputs}
    errors = [f"{what} {path}: there is no such folder" for what, path in wanted.items() if path and not path.is_dir()]
    files = {"--captions": options.captions, "--matches": options.matches}
    errors += [f"{what} {path}: there is no such file" for what, path in files.items() if path and not path.is_file()]
    if options.system in BASELINE_LABELS:
        errors.append(f"'{options.system}' is the name of a baseline: give the system another with --name")
    if errors:
        raise UsageError(errors)


def _conditions(options: ScoreOptions, datasets: Sequence[str]) -> dict[str, Conditions]:
    """Exports of conditions in `--inputs`, by data set. Raises ValueError for one that is of another data set."""
    if options.inputs is None:
        return {}
    places = [find_conditions(options.inputs, name) for name in (datasets or DATASETS)]
    found = {place: read_conditions(place) for place in dict.fromkeys(places) if place is not None}
    by_set = {one.dataset: one for one in found.values()}
    other = [name for name in by_set if datasets and name not in datasets]
    if other:
        raise ValueError(f"--inputs {options.inputs}: conditions of {', '.join(other)}, the reference is of "
                         f"{', '.join(datasets)}")  # fmt: skip
    return by_set


def _samples(options: ScoreOptions, setting: Setting, conditions: dict[str, Conditions]) -> int:
    """Reference videos: as asked, else as many as the conditions were exported for, else as the profile says."""
    exported = {one.samples for one in conditions.values()}
    if options.common.samples is None and len(exported) == 1:
        return exported.pop()
    return setting.profile.samples


def _sets(
    options: ScoreOptions, setting: Setting, references: Sequence[Reference], conditions: dict[str, Conditions]
) -> list[SetPlan]:
    by_set = {reference.dataset: reference for reference in references}
    names = list(dict.fromkeys([*by_set, *conditions])) or ["folder"]
    if len(names) > 1 and (options.matches or options.captions):
        raise ValueError(f"--matches and --captions are for one data set; here are {', '.join(names)}")
    found = []
    for name in names:
        root = options.videos / name if (options.videos / name).is_dir() else options.videos
        if root == options.videos and len(names) > 1:
            raise ValueError(f"{options.videos}: there is no folder {name}/ in it for the videos of that data set")
        own = conditions.get(name)
        matched = match_outputs(
            root,
            _names(setting, by_set.get(name), own),
            None if own else options.inputs,
            options.captions,
            options.matches,
            options.unpaired,
        )
        if own is not None:
            _answer(matched, own)
        world = by_set[name].world if name in by_set else "real"
        found.append(SetPlan(name, root, matched, by_set.get(name), own, world))
    return found


def _names(setting: Setting, reference: Reference | None, conditions: Conditions | None) -> Names | None:
    """The ids that videos may answer: of the conditions, else of everything in the reference."""
    if conditions is not None:
        return Names.of([item.id for item in conditions.items], conditions.aliases)
    if reference is None:
        return None
    return names_of(setting.profile, reference.dataset, reference.data)


def _answer(matched: Matched, conditions: Conditions) -> None:
    """Inputs and prompts are those that were exported; a prompt that the videos' folder has otherwise is noted."""
    known = {item.id: item for item in conditions.items}
    if not matched.paired:
        return
    other = [m.id for m in matched.items if m.prompt and m.prompt != " ".join(known[m.id].prompt.split())]
    if other:
        matched.notes.append(f"{len(other)} prompts beside the videos are not those of the conditions: {other[0]}")
    files = {name: conditions.folder / item.file for name, item in known.items()}
    matched.items = [
        replace(m, input=files[m.id] if files[m.id].is_file() else None, prompt=known[m.id].prompt)
        for m in matched.items
    ]


def _add(steps: Steps, of: SetPlan, protocol: ResolvedProtocol, system: System, baselines: bool) -> None:
    """All steps of one set under one protocol."""
    plan, shape, name = steps.plan, shape_of(protocol), protocol.name
    items = of.matched.items
    pictured = [item for item in items if item.input is not None]
    clips = steps.clips(of.reference, protocol) if of.reference is not None else None
    reference = steps.reference(protocol, of.dataset, clips) if clips is not None else None
    paired = clips if of.matched.paired else None
    collect = of.collect[name] = steps.collect(of.dataset, items, shape, paired)
    pictures = steps.pictures(of.dataset, pictured, shape) if pictured else None
    of.alike[name] = steps.alike(of.dataset, collect, clips, pictures)
    if pictures is not None:
        of.pictures[name] = pictures
    if clips is not None:
        of.clips[name] = clips

    def scored(label: str, whose: System, made: Any, conditions: Any, count: int | None, metrics: Any = None) -> None:
        features = steps.features(label, protocol, made, conditions, count)
        comparison = "baseline" if whose.role == "baseline" else "generated"
        score = steps.score(label, protocol, of.dataset, features, reference, comparison, whose.seed)
        told = {"metrics": metrics} if metrics else {}
        plan.scored.append(Scored(whose, of, protocol, score, reference, made, features, **told))

    label = f"{system.name} {of.dataset} {name}"
    if len(pictured) == len(items):
        scored(label, system, collect, pictures, len(items))
    else:
        scored(label, system, collect, None, len(items))
        if pictured:  # PIC of those that have an input
            some = steps.collect(f"{of.dataset} with inputs", pictured, shape, paired)
            scored(f"{label} with inputs", system, some, pictures, len(items), lambda metric: metric == "pic")
    if clips is not None and baselines:
        for one in BASELINES:
            whose = System(one, BASELINE_LABELS[one], role="baseline")
            scored(f"{one} {of.dataset} {name}", whose, steps.baseline(of.dataset, one, clips), clips, None)
