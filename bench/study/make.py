"""How does a study get onto one page? Systems and inputs -> study.html for the raters, key.json for us.

The page is one file that works offline; it holds blind names and videos encoded anew, no name of a variant. Order of
screens and of videos is drawn for each rater in the page. Templates: reports/templates/study.*.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.study import choose, clips
from bench.study.design import CRITERIA, Key, Screen, check_clip, clip, screens
from reports.files import write_text
from reports.templating import page

PAGE, KEY = "study.html", "key.json"
LARGEST = 100_000_000  # bytes of a page that browsers still open at ease
SECONDS = {"pick": 12, "judge": 6}  # what one screen takes a rater, about


@dataclass(frozen=True)
class Made:
    """Where the study lies, and how long it takes a rater."""

    page: Path
    key: Path
    screens: int
    systems: int
    items: int
    minutes: float


def make(
    folders: Sequence[Path],
    out: Path,
    question: str | None = None,
    variants: Sequence[str] | None = None,
    items: int = 3,
    salt: str | None = None,
) -> Made:
    """Writes study.html and key.json into `out`; a key that is there already is never overwritten.

    `items`: inputs per dataset. `salt`: secret, drawn here unless a test gives one. Raises UsageError.
    """
    if (out / KEY).exists():
        raise UsageError(
            f"{out / KEY} is there: it is the only way to read the answers to its page. Give another --out"
        )
    runs = choose.read_runs(folders)
    systems = choose.systems(runs, question, variants)
    shown = choose.items(runs, systems, items)
    salt = salt or secrets.token_hex(16)
    key = Key(
        salt=salt,
        systems=tuple(systems),
        items=tuple({"dataset": i.dataset, "id": i.id, "prompt": i.prompt} for i in shown),
        screens=screens(salt, len(systems), shown),
    )
    videos = _videos(key, shown)
    key = replace(key, files={name: hashlib.sha256(video.encode()).hexdigest() for name, video in videos.items()})
    html = page("study.html.j2", {"data": _data(key, videos, shown), "minutes": _minutes(key.screens)}, STYLES, SCRIPT)
    if len(html.encode("utf-8")) > LARGEST:
        raise UsageError(f"study: the page would have {len(html) / 1e6:.0f} MB; give fewer --items or --variants")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / PAGE, html)
    write_text(out / KEY, json.dumps(key.to_json(), indent=1, ensure_ascii=False) + "\n")
    return Made(out / PAGE, out / KEY, len(key.screens), len(systems), len(shown), _minutes(key.screens))


STYLES, SCRIPT = ("plot.css", "study.css"), "study.js"


def _videos(key: Key, shown: Sequence[choose.Item]) -> dict[str, str]:
    """Blind name -> data: address of every clip on a screen: the systems' and those of the attention checks."""
    wanted = {option.token for screen in key.screens for option in screen.options}
    videos: dict[str, str] = {}
    for place, item in enumerate(shown):
        read = [clips.read(path) for path in item.videos]
        rate = read[0][1]
        real = clips.read(item.real)[0] if item.real else read[0][0]
        *frames, real = clips.alike([*(one for one, _ in read), real])
        made = {clip(key.salt, place, system): one for system, one in enumerate(frames)}
        made[check_clip(key.salt, place, 0)] = real
        noisy = [check_clip(key.salt, place, number) for number in range(1, len(frames))]
        made |= {name: clips.noise(real, int(name, 16)) for name in noisy}
        videos |= {name: clips.encode(one, rate) for name, one in made.items() if name in wanted}
    return dict(sorted(videos.items()))


def _data(key: Key, videos: dict[str, str], shown: Sequence[choose.Item]) -> dict[str, Any]:
    """What the page knows: no system, no run, no dataset, no answer of a check."""
    kinds = {criterion.name: criterion.kind for criterion in key.criteria}
    return {
        "study": key.study,
        "criteria": {
            c.name: {"kind": c.kind, "asked": c.asked, "explained": c.explained, "label": c.label} for c in key.criteria
        },
        "inputs": [{"picture": clips.as_png(clips.picture(i.picture)), "prompt": i.prompt} for i in shown],
        "screens": [
            {
                "id": s.id,
                "criterion": s.criterion,
                "kind": kinds[s.criterion],
                "input": s.item,
                "options": [option.token for option in s.options],
            }
            for s in key.screens
        ],
        "clips": videos,
    }


def _minutes(every: Sequence[Screen]) -> float:
    kinds = {criterion.name: criterion.kind for criterion in CRITERIA}
    return sum(SECONDS[kinds[screen.criterion]] for screen in every) / 60
