"""Step `captions`: what a training set's clips are called instead, for questions about the text.

Config: `text` "full" (the caption) | "motion" (its words of motion, with whoever moves); `least_dynamic`: captions of
less dynamic confidence are left out, clip and all (None: none is); `undescribed`: the share of captions that first lose
their words of motion, drawn from (seed, video id); `seed`; `clip` {ClipConfig}, `micro_batch` as in `encode`.
A caption whose table says it all (columns scene, motion and dynamic, by `python -m bench captions`) is taken as told;
all others are taken apart by rules. Inputs: `encoded` (a training set), `clip` (the text tower's weights). Leaves
    text.safetensors   text (M, L, D) float16: the encoded texts; rows (M,) int64: whose clips they are
    items.json         [{id, caption (as it was), prompt (what stands for it), dynamic}], kept ones, in order
    notes.json         [text]: how many lost their words, say no motion, were left out
The captions of the tiny world all tell the motion, those of web videos mostly do not: `undescribed` makes the tiny
world's like them. It is an assumption about web captions, not a measurement of any.
Source: DynamiCrafter, arXiv:2310.12190, motion control using text (captions filtered by dynamic confidence, purer
dynamic wording); there a language model words them and the model is trained on from its last stage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.encoded import TEXTS, padded_batches
from bench.parts import load_encoders
from bench.precision import arithmetic, of_step
from bench.seeding import generator
from bench.variants import config_from_json
from bench.work import Work
from datasets.motion_text import DYNAMIC, split
from models.config import ClipConfig
from models.weights import save_tensors

VERSION = 1


@dataclass(frozen=True)
class Retold:
    """One clip's text: its place in the training set, its caption, what stands for it, how dynamic it is."""

    row: int
    id: str
    caption: str
    prompt: str
    dynamic: float


def run(work: Work) -> None:
    """Writes the texts and whose they are. Raises ValueError when no caption is left."""
    items = json.loads(work.file("encoded", "items.json").read_text())
    config = work.config
    told = [retell(row, item, config) for row, item in enumerate(items)]
    least = config["least_dynamic"]
    kept = [one for one in told if least is None or one.dynamic >= least]
    if not kept:
        raise ValueError(f"none of {len(told)} captions has a dynamic confidence of {least} or more: nothing to learn")
    with arithmetic(of_step(config), work.device):
        text = _encoded(work, [one.prompt for one in kept])
    rows = torch.tensor([one.row for one in kept], dtype=torch.int64)
    save_tensors({"text": text, "rows": rows}, work.out / TEXTS)
    lines = [{"id": o.id, "caption": o.caption, "prompt": o.prompt, "dynamic": o.dynamic} for o in kept]
    (work.out / "items.json").write_text(json.dumps(lines, ensure_ascii=False, indent=1) + "\n")
    (work.out / "notes.json").write_text(json.dumps(_notes(items, told, kept), ensure_ascii=False) + "\n")


def retell(row: int, item: dict[str, Any], config: Any) -> Retold:
    """What stands for one caption, by the step's config."""
    caption, told = str(item["prompt"]), item.get("told")
    if generator(config["seed"], "undescribed", item["id"]).uniform() < config["undescribed"]:
        caption, told = split(caption).scene, None
    found = split(caption)
    motion, dynamic = (told["motion"], float(told["dynamic"])) if told else (found.motion, found.dynamic)
    return Retold(row, str(item["id"]), caption, motion if config["text"] == "motion" else caption, dynamic)


def _notes(items: list[dict[str, Any]], told: list[Retold], kept: list[Retold]) -> list[str]:
    lost = sum(item["prompt"] != one.caption for item, one in zip(items, told, strict=True))
    still = sum(one.dynamic < DYNAMIC for one in told)
    by_table = sum(bool(item.get("told")) for item in items)
    return [
        *([f"{by_table} captions were taken apart beforehand, as the table says"] if by_table else []),
        f"{len(told)} captions: {lost} lost their words of motion, {still} say of no motion",
        f"{len(told) - len(kept)} clips are left out, {len(kept)} are trained on",
    ]


def _encoded(work: Work, texts: list[str]) -> torch.Tensor:
    """Text tokens (M, L, D) float16, each text encoded once, in batches of one size."""
    size, known = work.config["micro_batch"], sorted(set(texts))
    _, tower = load_encoders(work.inputs["clip"], config_from_json(ClipConfig, work.config["clip"]))
    tower = tower.to(work.device).eval()
    tokens = tower.tokenize(known).to(work.device)
    rows = []
    with torch.no_grad():
        for index, valid in padded_batches(len(known), size):
            rows.append(tower(tokens[index])[:valid].float().cpu().half())
            work.progress(int(index[valid - 1]) + 1, len(known), "texts")
    places = {text: place for place, text in enumerate(known)}
    return torch.cat(rows)[torch.from_numpy(np.array([places[text] for text in texts]))]
