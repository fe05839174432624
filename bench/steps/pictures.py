"""Step `pictures`: the input image of each video of another system, fitted as the protocol fits frames.

Config: `items` [{id, content}], `height`, `width`; and, not part of the fingerprint, `files` {id: path}. Leaves
clips.safetensors uint8 (N, 1, H, W, 3) and items.json [{id, pixels}].
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.scoring.frames import pixels_digest, take_input
from bench.steps.collect import check_content
from bench.work import Work
from datasets.clip import BadVideo
from datasets.files import one_line
from datasets.framefile import FramesWriter

VERSION = 1
FRAMES = "clips.safetensors"


def run(work: Work) -> None:
    """Reads every picture. Raises ValueError naming those that cannot be read: a score needs them all."""
    items, bad = [], []
    height, width = work.config["height"], work.config["width"]
    with FramesWriter(work.out / FRAMES) as frames:
        for item in work.config["items"]:
            path = Path(work.config["files"][item["id"]])
            check_content([path], item["content"])
            try:
                picture = take_input(path, height, width)
            except BadVideo as error:
                bad.append(f"{one_line(path.name)} of {item['id']}: {error.reason}")
                continue
            frames.append(picture)
            items.append({"id": item["id"], "pixels": pixels_digest(picture[0])})
            work.progress(len(items), len(work.config["items"]), "pictures")
    if bad:
        raise ValueError(f"{len(bad)} input pictures cannot be read: {'; '.join(bad[:5])}")
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1), encoding="utf-8")
