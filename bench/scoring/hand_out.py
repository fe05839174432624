"""`python -m bench conditions`: what another system must animate, chosen and cut as the reference is, written as files.

The clips come out of the store (or go into it): the same step that a run or a score of this protocol uses, so the
pictures are, to the bit, frame 0 of the reference clips. See `bench/scoring/conditions.py` for the layout.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.assemble import write_json
from bench.errors import BenchError, UsageError
from bench.measure import resolve_protocols
from bench.plan import ResolvedProtocol
from bench.runner import failures
from bench.scoring.conditions import FILE, Condition, prompts_csv, readme, safe_names, to_json, write_png
from bench.scoring.plan import ScorePlan, Steps, shape_of
from bench.scoring.setting import Common, Setting
from bench.scoring.sources import WORLD, Reference, check_dataset, find_references, weights_of
from bench.sources import split_of
from datasets.clip import Frames
from datasets.decode import opened
from datasets.framefile import read_frames


@dataclass(frozen=True)
class HandOut:
    """What the command line said."""

    dataset: str
    protocol: str
    out: Path
    common: Common
    data: tuple[str, ...] = ()
    original: bool = False

    @property
    def folder(self) -> Path:
        """Where this data set's conditions go."""
        return self.out / self.dataset


def hand_out(options: HandOut) -> Path:
    """Writes the conditions of one data set; returns their folder. Raises UsageError, BenchError."""
    setting = Setting.of(options.common)
    sources = weights_of(setting.profile, (), setting.hashes)
    protocol = resolve_protocols((options.protocol,), setting.profile, sources)
    reference = _reference(options, setting)
    plan = ScorePlan(setting.profile, sources, protocol, setting.profile.samples)
    clips = Steps(plan, setting.device, setting.hashes).clips(reference, protocol[0])
    outcome = setting.do(plan.graph, None)
    artifact = setting.artifact(clips)
    if artifact is None:
        raise BenchError("\n".join(failures(list(plan.graph), outcome)))
    return _write(options, setting, protocol[0], reference, artifact)


def _reference(options: HandOut, setting: Setting) -> Reference:
    check_dataset(options.dataset)
    given = options.data or (f"{options.dataset}={WORLD}",)
    found = find_references(setting.profile, given, setting.hashes, "--data")
    if len(found) != 1 or found[0].dataset != options.dataset:
        raise UsageError(f"--data {' '.join(given)}: conditions of {options.dataset} need {options.dataset}=DIR, alone")
    return found[0]


def _write(
    options: HandOut, setting: Setting, protocol: ResolvedProtocol, reference: Reference, artifact: Path
) -> Path:
    """Fills a folder beside the final one, then renames it: half an export is never there."""
    temporary = options.out / f".{options.dataset}.{os.getpid()}.{secrets.token_hex(4)}"
    files = _files(setting, reference, artifact) if options.original else {}
    content = reference.data.content if reference.data else None
    about = {"content": content, "samples": setting.profile.samples, "profile": setting.profile.name}
    try:
        found = write_conditions(temporary, options.dataset, protocol, artifact, about, files)
        if not _is_there(options.folder, found):
            temporary.rename(options.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return options.folder


def write_conditions(
    folder: Path,
    dataset: str,
    protocol: ResolvedProtocol,
    artifact: Path,
    about: Mapping[str, Any],
    files: Mapping[str, Path] | None = None,
) -> str:
    """Writes the conditions of a `clips` artifact into a new folder; returns their hash.

    `about`: content (digest of the user's data, None for the world), samples, profile. `files`: video id -> its file,
    where the frames at the source's own size are wanted too.
    """
    items = list(_pictures(folder, protocol, artifact, about["samples"], files or {}))
    content = to_json(dataset, protocol.config, about, items)
    (folder / "prompts.csv").write_text(prompts_csv(dataset, items), encoding="utf-8", newline="")
    (folder / "ids.txt").write_text("".join(f"{item.id}\n" for item in items), encoding="utf-8")
    root = WORLD if about["content"] is None else "DIR"
    (folder / "README.txt").write_text(readme(content, root), encoding="utf-8")
    write_json(folder / FILE, content)
    return str(content["hash"])


def _is_there(target: Path, wanted: str) -> bool:
    """Whether these very conditions are in the folder. Raises UsageError when something else is."""
    if not target.exists():
        return False
    try:
        if json.loads((target / FILE).read_text(encoding="utf-8"))["hash"] == wanted:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{target}: other files are there already. Name another --out, or remove them")


def _pictures(
    folder: Path, protocol: ResolvedProtocol, artifact: Path, samples: int, files: Mapping[str, Path]
) -> Iterator[Condition]:
    """Writes the condition frames, one in memory at a time."""
    frames = read_frames(artifact / "clips.safetensors")
    items = json.loads((artifact / "items.json").read_text(encoding="utf-8"))[:samples]
    for item, name, clip in zip(items, safe_names([i["id"] for i in items]), frames, strict=False):
        pixels = write_png(folder / "frames" / f"{name}.png", clip[0])
        source: str | None = None
        source_pixels: str | None = None
        if files:
            source = f"original/{name}.png"
            source_pixels = write_png(folder / source, source_frame(files[item["video"]], item["start"]))
        yield Condition(
            id=item["id"],
            file=f"frames/{name}.png",
            pixels=pixels,
            prompt=item["prompt"],
            frames=shape_of(protocol).frames,
            frame_stride=item["frame_stride"],
            source_fps=item["fps"],
            original=source,
            original_pixels=source_pixels,
        )


def _files(setting: Setting, reference: Reference, artifact: Path) -> Mapping[str, Path]:
    """Video id -> its file."""
    from datasets.catalog import open_catalog

    if reference.data is not None:
        split = split_of(setting.profile, reference.dataset)
        return {v.id: v.path for v in open_catalog(reference.dataset, reference.data.root, split).videos}
    manifest: dict[str, Any] = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    world = setting.store.folder("world", manifest["inputs"]["world"])
    return {v.id: v.path for v in open_catalog(reference.dataset, world / reference.dataset, None).videos}


def source_frame(path: Path, index: int) -> Frames:
    """Frame `index` of a file at the file's own size. Raises BenchError when it is not there any more."""
    with opened(path) as reader:
        for place, frame in enumerate(reader.frames()):
            if place == index:
                return reader.rgb(frame)
    raise BenchError(f"{path}: frame {index} is not there: the file has changed since its clip was cut")
