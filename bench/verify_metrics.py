"""Which files of a folder hold reference values of the measuring networks and of FVD, KVD and PIC?

Known by what is in them, never by their names: arrays (.npz), objects and lists (.json), tables (.tsv). Companions are
looked for in the same folder: a list of inputs describes the videos of an array file; texts may name seeds.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import verify_i3d, verify_pic, verify_statistics
from bench.metrics.i3d import LAYOUTS, key_list
from bench.verify_cases import Beside, Case, Left, seeds_in, within
from bench.verify_inputs import Shape, shapes_of, weight

Answer = Iterable[Case | Left]
SUFFIXES = (".npz", ".json", ".tsv")
TEXTS = (".md", ".txt")
LONGEST_TEXT = 1 << 20  # bytes
ANCHOR_BOUND = 1e-6
RULE_HEADER = ["layout", "key", "first4", "sum_f64"]


@dataclass(frozen=True)
class Measured:
    """A recognised file: its kind, how to check it, and whether that takes minutes."""

    kind: str
    check: Callable[[], Answer]
    full_size: bool = False


def look_beside(folder: Path) -> Beside:
    """The companions in a folder."""
    videos: dict[str, Mapping[str, Any]] = {}
    described: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    seeds: set[int] = set()
    for path in sorted(folder.glob("*.json")):
        content = _json(path)
        if is_input_list(content):
            videos |= {entry["video"]: entry for entry in content if "pipeline" not in entry}
        described |= verify_statistics.parameters_of(content)
        seeds |= seeds_in(content)
    texts = [p for p in sorted(folder.iterdir()) if p.suffix in TEXTS and p.is_file()]
    small = [path for path in texts if path.stat().st_size <= LONGEST_TEXT]
    written = tuple(path.read_text(encoding="utf-8", errors="replace") for path in small)
    return verify_i3d.with_seeds_of_videos(Beside(videos, described, tuple(sorted(seeds)), written))


def recognise(path: Path, beside: Callable[[], Beside]) -> Measured | None:
    """The kind of a file and how to check it; None when it holds no reference values of these kinds."""
    if path.suffix == ".npz":
        return _arrays(path, beside)
    if path.suffix == ".json":
        return _objects(_json(path), beside)
    if path.suffix == ".tsv":
        return _table(path)
    return None


def _arrays(path: Path, beside: Callable[[], Beside]) -> Measured | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = frozenset(file.files)
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, EOFError):
        return None
    many = verify_i3d.count_runs(names) > verify_i3d.MANY
    if any(name.startswith(("pre/", "i3d/")) for name in names):
        return Measured("i3d", lambda: verify_i3d.check_arrays(_read(path), beside()), many)
    if any(name.startswith("endpoint/") or name.endswith("/piergiaj_logits_time") for name in names):
        return Measured("i3d", lambda: verify_i3d.check_lengths(_read(path), beside()), many)
    return None


def _read(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _objects(content: Any, beside: Callable[[], Beside]) -> Measured | None:
    if is_input_list(content):
        return Measured("i3d", lambda: verify_i3d.check_inputs(content, beside()))
    if not isinstance(content, dict) or not content:
        return None
    if verify_i3d.is_length_list(content):
        return Measured("i3d", lambda: verify_i3d.check_refusals(content))
    if verify_pic.is_lpips(content):
        return Measured("lpips", lambda: verify_pic.check_lpips(content, beside()))
    if verify_pic.is_dreamsim(content):
        return Measured("dreamsim", lambda: verify_pic.check_dreamsim(content, beside()), "vit" not in content)
    if verify_statistics.is_frechet(content):
        return Measured("frechet", lambda: verify_statistics.check_frechet(content))
    if verify_statistics.is_kvd(content):
        return Measured("kvd", lambda: verify_statistics.check_kvd(content, beside()))
    return None


def is_input_list(content: Any) -> bool:
    """Whether a JSON file is a list of videos, some of them with a hash."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(entry, dict) and "video" in entry for entry in content)
    )


def _table(path: Path) -> Measured | None:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    if not body or any(len(row) != len(header) for row in body):
        return None
    names = {row[0] for row in body}
    if header == RULE_HEADER:
        return Measured("rule", partial(check_rule, body))
    if header == list(LAYOUTS):
        return Measured("keys", partial(verify_i3d.check_key_map, body))
    if header == ["name", "dtype", "shape"] and any(names & key_list(layout).keys() for layout in LAYOUTS):
        return Measured("keys", partial(verify_i3d.check_keys, body))
    if header == ["name", "shape"] and names & verify_pic.transformer_keys("dino").keys():
        return Measured("keys", partial(verify_pic.check_keys, body))
    return None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None


def shortened(names: list[str]) -> str:
    """Names of values; `case value` of several cases is `value (of N cases)`, so that a line stays readable."""
    values: dict[str, list[str]] = {}
    for name in names:
        case, _, value = name.partition(" ")
        values.setdefault(value or case, []).append(name)
    return ", ".join(same[0] if len(same) == 1 else f"{value} (of {len(same)} cases)" for value, same in values.items())


# ---- the weight rule ----


def check_rule(rows: list[list[str]]) -> Iterator[Case | Left]:
    """First values and sum of a few tensors of the weight rule."""
    for layout, key, first, total in rows:
        shape = shape_of(layout, key)
        if shape is None:
            yield Left(f"{layout} {key}", "no network here has such an entry")
            continue
        values = weight(key, shape).double().flatten()
        start = [float(value) for value in first.split(",")]
        got = [*values[: len(start)].tolist(), float(values.sum())]
        yield within(f"rule {key} {list(shape)}", got, [*start, float(total)], ANCHOR_BOUND)


def shape_of(layout: str, key: str) -> Shape | None:
    """Shape of an entry of a public state dict; None when no network here has it."""
    if layout in LAYOUTS:
        return key_list(layout).get(key)
    if layout in verify_pic.TRANSFORMERS:
        return verify_pic.transformer_keys(layout).get(key.removeprefix(f"{layout}."))
    if layout in verify_pic.lpips.LAYERS:
        trunk = shapes_of(verify_pic.lpips.Lpips(layout).features)
        return trunk.get(key.removeprefix("features."))
    return None
