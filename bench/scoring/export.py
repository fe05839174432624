"""What does a reviewer need to check a table without training anything? Lossless samples and a manifest of a run.

Layout of `python -m bench export RUN --out DIR`:
    videos/<variant>/seed-<k>/<dataset>/<name>.mkv   FFV1 in RGB, or <name>/0000.png ...: the frames that were scored
    conditions/<dataset>/                            what was animated, as `bench conditions` lays it out
    manifest.json                                    protocol, profile, sha256 of weights, of every clip's frames and of
                                                     every reference clip, the run's records; `hash` over all of it
    README.txt                                       how to check the table
Real clips are not in it: the reference is a list of ids and sha256, made again from the reviewer's own copy.
`python -m bench score DIR --reference ...` measures the videos anew and says number by number whether they agree.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.assemble import write_json
from bench.errors import UsageError, known
from bench.fingerprint import digest
from bench.plan import ResolvedProtocol
from bench.scoring.conditions import safe_names
from bench.scoring.frames import pixels_digest
from bench.scoring.hand_out import write_conditions
from bench.scoring.lossless import FORMATS
from bench.scoring.plan import BASELINES
from bench.scoring.runs import Made, StoredRun, open_run
from datasets.framefile import read_frames
from reports.record import Record

KIND = "i2v-bench export"
SCHEMA = 1
FILE = "manifest.json"
NOISE = "generator of (training seed, 'sample', data set, id)"  # bench/steps/sample.py

Json = dict[str, Any]


@dataclass(frozen=True)
class ExportOptions:
    """What the command line said; no `variants`: all of them."""

    run: Path
    out: Path
    store: Path | None = None
    variants: tuple[str, ...] = ()
    format: str = "ffv1"


def export(options: ExportOptions, say: Callable[[str], None] = lambda line: None) -> Path:
    """Writes an export; returns its manifest. Raises UsageError, BenchError; half an export has no manifest."""
    if options.format not in FORMATS:
        raise UsageError(f"--format is '{options.format}'. {known(options.format, FORMATS)}")
    if options.out.exists() and any(options.out.iterdir()) and not (options.out / FILE).is_file():
        raise UsageError(f"{options.out}: other files are there already. Name another --out")
    run = open_run(options.run, options.store)
    chosen = _chosen(run, options)
    (options.out / FILE).unlink(missing_ok=True)  # while it is written it is no export
    for old in ("videos", "conditions"):
        shutil.rmtree(options.out / old, ignore_errors=True)
    folders = dict(_write_videos(chosen, options, say))
    content = {
        **_about(run),
        "datasets": {dataset: _dataset(run, one, options.out) for dataset, one in _one_each(chosen).items()},
        "folders": folders,
        "sets": [_set(one, folders) for one in chosen],
        "records": [record.to_dict() for record in _records(run, chosen)],
    }
    write_json(options.out / FILE, {**content, "hash": digest(content)})
    (options.out / "README.txt").write_text(_readme(run, content), encoding="utf-8")
    return options.out / FILE


def _chosen(run: StoredRun, options: ExportOptions) -> list[Made]:
    """The sets to export. Baselines made of real clips alone are never among them."""
    made = [one for one in run.made() if one.variant not in BASELINES]
    if not options.variants:
        found = [one for one in made if one.role == "variant"]
    else:
        found = [one for one in made if one.variant in options.variants]
    absent = [name for name in options.variants if name not in {one.variant for one in made}]
    if absent or not found:
        names = list(dict.fromkeys(one.variant for one in made))
        raise UsageError(f"--variant {' '.join(absent) or '(none)'}: {known(absent[0] if absent else '', names)}")
    return found


def _one_each(made: Sequence[Made]) -> dict[str, Made]:
    return {one.dataset: one for one in reversed(made)}


def _folder_of(one: Made) -> str:
    seed = "" if one.seed is None else f"seed-{one.seed}/"
    return f"videos/{safe_names([one.variant])[0]}/{seed}{one.dataset}"


def _write_videos(
    made: Sequence[Made], options: ExportOptions, say: Callable[[str], None]
) -> Iterator[tuple[str, Json]]:
    """(folder, what is in it), for every different set of clips; a variant that two questions share is written once."""
    write, taken, seen = FORMATS[options.format], set[str](), set[str]()
    for one in made:
        if one.clips.digest in seen:
            continue
        seen.add(one.clips.digest)
        folder = _folder_of(one)
        if folder in taken:  # another variant of that name, in another question
            folder = folder.replace("videos/", f"videos/{one.question}.", 1)
        taken.add(folder)
        items = json.loads((one.clips.path / "items.json").read_text(encoding="utf-8"))
        frames = read_frames(one.clips.path / "frames.safetensors")
        told = []
        for item, name, clip in zip(items, safe_names([item["id"] for item in items]), frames, strict=True):
            file = write(options.out / folder / name, clip, item.get("fps"))
            about = {"id": item["id"], "file": file.name, "prompt": item.get("prompt") or ""}
            told.append({**about, "pixels": pixels_digest(clip)})
        say(f"{folder}: {len(told)} videos")
        yield folder, {"clips": one.clips.digest, "items": told}


def _set(one: Made, folders: Mapping[str, Json]) -> Json:
    """Whose clips lie in which folder."""
    folder = next(name for name, about in folders.items() if about["clips"] == one.clips.digest)
    about = {"question": one.question, "variant": one.variant, "label": one.label, "role": one.role}
    return {**about, "dataset": one.dataset, "seed": one.seed, "folder": folder, "notes": list(one.notes)}


def _dataset(run: StoredRun, one: Made, out: Path) -> Json:
    """Conditions as files, and the reference as a list: nothing of the real clips but their first frames leaves."""
    assert one.reference is not None, "a run compares every set with real clips"
    protocol, profile = _protocol(run), run.profile()
    content = (run.spec.get("data", {}).get(one.dataset) or {}).get("content")
    target = out / "conditions" / one.dataset
    about = {"content": content, "samples": profile.samples, "profile": profile.name}
    found = write_conditions(target, one.dataset, protocol, one.reference.path, about)
    items = json.loads((one.reference.path / "items.json").read_text(encoding="utf-8"))[: profile.samples]
    clips = read_frames(one.reference.path / "clips.safetensors")
    kept = ("id", "start", "frame_stride")
    listed = [
        {**{key: item[key] for key in kept}, "pixels": pixels_digest(clip)}
        for item, clip in zip(items, clips[: len(items)], strict=True)
    ]
    return {"world": one.world, "content": content, "conditions": found, "reference": listed}


def _protocol(run: StoredRun) -> ResolvedProtocol:
    """The run's own protocol, as it was resolved then."""
    name = run.profile().protocol
    values = run.protocol_values(name)
    config = {"name": name, "hash": digest({"name": name, "values": values}), "values": values}
    return ResolvedProtocol(name, config, list(run.spec["protocols"][name]))


def _about(run: StoredRun) -> Json:
    protocol = _protocol(run)
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "run": run.name,
        "protocol": {"name": protocol.name, "hash": protocol.config["hash"], "fields": protocol.fields},
        "profile": run.profile().model_dump(mode="json"),
        "weights": dict(run.spec.get("weights", {})),
        "questions": dict(run.spec.get("questions", {})),
        "noise": NOISE,
    }


def _records(run: StoredRun, chosen: Sequence[Made]) -> list[Record]:
    """The run's numbers that the export can check: of its sets, of their means, and of baselines that are made anew."""
    protocol = run.profile().protocol
    sets = {(one.question, one.variant, one.dataset) for one in chosen}
    datasets = {one.dataset for one in chosen}
    questions = {one.question for one in chosen}
    return [
        r
        for r in run.records
        if r.protocol == protocol
        and (
            (r.question, r.variant, r.dataset) in sets
            or (r.variant in BASELINES and r.dataset in datasets and r.question in questions)
        )
    ]


def read_manifest(folder: Path) -> Json | None:
    """The manifest of an export; None for a folder that is none.

    Raises ValueError when it is of another schema, or is not what its hash was made of.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        return None
    if content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {content.get('schema')!r}; this version reads {SCHEMA}")
    if digest({key: value for key, value in content.items() if key != "hash"}) != content.get("hash"):
        raise ValueError(f"{path}: its content is not what its hash was made of: it was changed since it was written")
    return content


def _readme(run: StoredRun, content: Mapping[str, Any]) -> str:
    given = " ".join(
        f"--reference {name}={'world' if about['content'] is None else 'DIR'}"
        for name, about in content["datasets"].items()
    )
    return README.format(
        run=run.name,
        protocol=content["protocol"]["name"],
        sets=len(content["sets"]),
        videos=sum(len(about["items"]) for about in content["folders"].values()),
        records=len(content["records"]),
        given=given,
        hash=digest(content),
    )


README = """\
Samples of the run {run}, protocol {protocol}: {videos} videos, {sets} sets, {records} numbers
hash {hash}

Every video holds, without loss, the frames that were scored. To check the table, nothing is trained or sampled:

    python -m bench score THIS_FOLDER {given}

It measures the videos anew, compares every number with the run's (manifest.json), every video and every reference clip
with its sha256, and says what differs. Real clips are not part of this folder: DIR is your own copy of the data set.
Their first frames are, as conditions: the data set's licence holds for them.

    videos/       <variant>/seed-<training seed>/<dataset>/, a video for each id
    conditions/   the pictures and prompts that were animated
    manifest.json protocol with every field, profile, sha256 of the weights, of every video and reference clip; records
"""
