"""Step `clips`: chooses and decodes the clips of one data set.

Config: `catalog` (reader: ucf101, msrvtt, webvid, folder), `dataset` (its role, for messages), `root`
(relative to the input `world` where there is one, else a folder of the user), `split`, `rule` (the fields of
`datasets.select.ClipRule`), `content` (digest of a user's folder, a part of the fingerprint only). Leaves, in
this order of items:
    clips.safetensors  frames uint8 (N, T, H, W, 3)
    items.json         [{id, video, prompt, group, label, fps, start, frame_stride, notes}], and told {scene, motion,
                       dynamic} where the data set's table has these columns
    set_aside.json     [{id, path (relative to the root), reason}]
    notes.json         [text]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.work import Work
from datasets.catalog import open_catalog
from datasets.clip import Catalog, Clip, Selection, SetAside
from datasets.files import one_line
from datasets.framefile import FramesWriter
from datasets.select import ClipRule, select_clips

VERSION = 2
FRAMES = "clips.safetensors"


def run(work: Work) -> None:
    """Writes the chosen clips, one in memory at a time. Raises ValueError when not one clip is left."""
    catalog = open_catalog(work.config["catalog"], _root(work), work.config.get("split"))
    rule = rule_of(work.config["rule"])
    selection = select_clips(catalog, rule)
    total = rule.count or len(catalog.videos) * rule.clips_per_video
    items = []
    with FramesWriter(work.out / FRAMES) as frames:
        for clip in selection:
            frames.append(clip.frames)
            items.append(item_of(clip))
            work.progress(len(items), total, "clips")
    if not items:
        raise ValueError(_nothing(catalog, selection))
    _write(work.out / "items.json", items)
    _write(work.out / "set_aside.json", [_set_aside(bad, catalog.root) for bad in selection.set_aside])
    _write(work.out / "notes.json", selection.notes)


def _root(work: Work) -> Path:
    root = Path(work.config["root"])
    return work.inputs["world"] / root if "world" in work.inputs else root


def rule_of(fields: Mapping[str, Any]) -> ClipRule:
    """A rule as a step's config writes it."""
    stride = fields["frame_stride"]
    return ClipRule(**{**fields, "frame_stride": stride if isinstance(stride, int) else tuple(stride)})


def item_of(clip: Clip) -> dict[str, Any]:
    """What is kept of a clip beside its frames."""
    return {
        "id": clip.id,
        "video": clip.video,
        "prompt": clip.prompt,
        "group": clip.group,
        "label": clip.label,
        "fps": clip.fps,
        "start": clip.start,
        "frame_stride": clip.frame_stride,
        "notes": list(clip.notes),
        **({"told": dict(clip.told)} if clip.told else {}),
    }


def _set_aside(bad: SetAside, root: Path) -> dict[str, str]:
    """The path is relative: the artifact of a folder is the same wherever the folder lies."""
    return {"id": bad.id, "path": one_line(str(bad.path.relative_to(root))), "reason": bad.reason}


def _nothing(catalog: Catalog, selection: Selection) -> str:
    reasons = [f"{one_line(bad.id)}: {bad.reason}" for bad in selection.set_aside[:5]]
    found = f"{len(catalog.videos)} videos, {len(selection.set_aside)} set aside"
    return f"{catalog.root}: no clip of {catalog.name} is left ({found}). " + "; ".join([*reasons, *selection.notes])


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
