"""Does this implementation give the official code's numbers? `python -m bench verify [DIR]`.

A golden file is recognised by the tensors and the metadata in it, whatever its name (a name only tells
which released size a schedule table is of). Kinds, as in `tests/golden/README.md`: a full-size U-Net,
b small U-Nets, c projector, d autoencoder, e CLIP preprocessing, f schedules, g sampling, h training loss,
i OpenCLIP, j pipeline; besides, key lists of released checkpoints and anchors of the weight rule. As in
`tests/golden/metrics/README.md`: i3d, lpips, dreamsim, frechet, kvd, with lists of their inputs and keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench import verify_diffusion, verify_frozen, verify_keys, verify_metrics, verify_unet
from bench.verify_cases import Case, Left
from bench.verify_configs import OFFICIAL_SPACING

Report = Callable[[str], None]
Check = Callable[[], Iterable[Case | Left]]
FULL_CHANNELS = 320  # of the released U-Nets


@dataclass(frozen=True)
class Golden:
    """A recognised file."""

    path: Path
    kind: str
    check: Check
    full_size: bool = False  # gigabytes and minutes


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself without being read."""

    path: Path
    names: frozenset[str]
    metadata: dict[str, Any]

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata of its cases; {} where there is none."""
        found = self.metadata.get("meta")
        return found if isinstance(found, dict) else {}

    @property
    def cases(self) -> list[dict[str, Any]]:
        """What the metadata says of each case."""
        return [entry for entry in self.meta.values() if isinstance(entry, dict)]

    def has(self, *endings: str) -> bool:
        """Whether some tensor ends in each of the endings."""
        return all(any(name.endswith(ending) for name in self.names) for ending in endings)

    def starts(self, *beginnings: str) -> bool:
        """Whether some tensor starts with each of the beginnings."""
        return all(any(name.startswith(beginning) for name in self.names) for beginning in beginnings)


def read_header(path: Path) -> Header:
    """Names of the tensors, and the metadata.

    Raises:
        ValueError: not a safetensors file.
    """
    try:
        with safe_open(str(path), "pt") as file:
            metadata = {k: verify_unet.decode(v) for k, v in (file.metadata() or {}).items()}
            return Header(path, frozenset(file.keys()), metadata)
    except SafetensorError as error:
        raise ValueError(f"not a readable safetensors file ({error})") from error


RECOGNISE: tuple[tuple[str, Callable[[Header], bool]], ...] = (  # the first that fits
    ("f", lambda h: {"betas", "alphas_cumprod"} <= h.names),
    ("a", lambda h: {"x", "context", "timesteps", "out"} <= h.names and "config" in h.metadata),
    ("b", lambda h: {"x", "context", "timesteps"} <= h.names and h.starts("out_") and "config" in h.metadata),
    ("g", lambda h: {"x_T", "cond_frame"} <= h.names and "runs" in h.meta),
    ("h", lambda h: {"video", "random_num"} <= h.names and "meta" in h.metadata),
    ("j", lambda h: {"x_T", "image1_u8"} <= h.names and "meta" in h.metadata),
    ("i", lambda h: "prompts" in h.metadata and (h.has(".text") or h.has(".image"))),
    ("d", lambda h: h.has(".x") and any("ddconfig" in entry.get("config", {}) for entry in h.cases)),
    ("c", lambda h: h.has(".x", ".out") and any("config" in entry for entry in h.cases)),
    ("e", lambda h: h.starts("in_u8_", "out_")),
)


def recognise(header: Header, pictures: Callable[[], dict[str, Tensor]], full: bool) -> Golden | None:
    """The kind of a safetensors file and how to check it; None when it is no golden file."""
    kind = next((kind for kind, fits in RECOGNISE if fits(header)), None)
    load = partial(verify_unet.read, header.path)
    checks: dict[str, Check] = {
        "a": lambda: verify_unet.check_unet(header.path),
        "b": lambda: verify_unet.check_unet(header.path),
        "c": lambda: verify_unet.check_projector(header.path),
        "d": lambda: verify_frozen.check_autoencoder(*load()),
        "e": lambda: verify_frozen.check_preprocess(*load()),
        "f": lambda: verify_frozen.check_schedule(*load(), header.path.stem),
        "g": lambda: verify_diffusion.check_sampling(*load()),
        "h": lambda: verify_diffusion.check_training(*load()),
        "i": lambda: verify_frozen.check_clip(*load(), pictures(), full),
        "j": lambda: verify_diffusion.check_pipeline(*load()),
    }
    if kind is None:
        return None
    large = kind in "ab" and header.metadata["config"]["model_channels"] >= FULL_CHANNELS
    return Golden(header.path, kind, checks[kind], large)


def recognise_json(path: Path) -> Golden | None:
    """DDIM timesteps (`spacing.steps`: list) or the weight rule's anchors (`name [shape]`: values, sum)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(content, dict) or not content:
        return None
    if all(isinstance(v, dict) and {"first", "sum64"} <= set(v) for v in content.values()):
        return Golden(path, "rule", lambda: verify_frozen.check_anchors(content))
    if any(key.rpartition(".")[0] in OFFICIAL_SPACING and isinstance(v, list) for key, v in content.items()):
        return Golden(path, "f", lambda: verify_frozen.check_timesteps(content))
    return None


def find(directory: Path, full: bool) -> Iterator[tuple[Path, Golden | None, str]]:
    """Every file below a directory, in order: its path, what it is, or why it is not checked."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file())
    headers: dict[Path, Header | str] = {}
    for path in (p for p in paths if p.suffix == ".safetensors"):
        try:
            headers[path] = read_header(path)
        except ValueError as error:
            headers[path] = str(error)
    pictures = partial(find_pictures, [h for h in headers.values() if isinstance(h, Header)])
    for path in paths:
        header = headers.get(path)
        if isinstance(header, str):
            yield path, None, header
        elif header is not None:
            yield path, recognise(header, pictures, full), "no kind of golden file has these tensors"
        elif path.suffix == ".tsv" and verify_keys.is_key_list(path):
            yield path, Golden(path, "keys", partial(verify_keys.check_keys, path)), ""
        else:
            golden = recognise_json(path) if path.suffix == ".json" else None
            yield path, golden or recognise_measured(path), "not a golden file"


def recognise_measured(path: Path) -> Golden | None:
    """Reference values of the measuring networks and metrics."""
    found = verify_metrics.recognise(path, lambda: verify_metrics.look_beside(path.parent))
    return None if found is None else Golden(path, found.kind, found.check, found.full_size)


def find_pictures(headers: list[Header]) -> dict[str, Tensor]:
    """What may be the picture of kind i, the likeliest first: inputs of kind e, the one of 320x512 before others."""
    inputs = sorted(
        (name != "in_u8_320x512", name, header.path)
        for header in headers
        for name in header.names
        if name.startswith("in_u8_")
    )
    return {f"{path.name} {name}": verify_unet.read(path)[0][name] for _, name, path in inputs}


def describe(golden: str, case: Case) -> str:
    """One line of the report."""
    word = "ok  " if case.ok else "FAIL"
    share = "" if case.share is None else f"  differing {case.share:.1e}"
    numbers = f"max abs {case.max_abs:.1e}  rel L2 {case.rel_l2:.1e}{share}  bound {case.bound:.0e}"
    return f"{word} {golden} {case.name}: {numbers}"


def check_file(golden: Golden, label: str, report: Report) -> tuple[int, int]:
    """Reports every case of a file. A file that cannot be checked to its end counts as one failure."""
    results: list[bool] = []
    left: dict[str, list[str]] = {}
    try:
        for case in golden.check():
            if isinstance(case, Left):
                left.setdefault(case.why, []).append(case.name)
                continue
            report(describe(f"{golden.kind} {label}", case))
            results.append(case.ok)
    except Exception as error:  # whatever is wrong with one file, the others are still checked
        report(f"FAIL {golden.kind} {label}: {type(error).__name__}: {error}")
        results.append(False)
    if not (results or left):
        report(f"not checked: {label} (no case of its kind is in it)")
    for why, names in left.items():
        report(f"not checked: {label} {verify_metrics.shortened(names)} ({why})")
    return sum(results), len(results) - sum(results)


def verify(directory: Path, report: Report, full: bool = True) -> tuple[int, int]:
    """Checks every golden file below a directory.

    Args:
        directory: where the files are.
        report: takes the lines: one per case, beginning with `ok` or `FAIL`; one per file not checked.
        full: whether to run the full-size U-Net and OpenCLIP towers too (6 GB, minutes).

    Returns:
        Cases passed and failed, for the last line of the command; (0, 0) when nothing was recognised.

    Raises:
        ValueError: no such directory.
    """
    if not directory.is_dir():
        raise ValueError(f"verify: {directory} is not a directory")
    passed = failed = 0
    for path, golden, why in sorted(find(directory, full), key=lambda f: f[1] is not None and f[1].full_size):
        label = path.relative_to(directory).as_posix()
        if golden is None:
            report(f"not checked: {label} ({why})")
        elif golden.full_size and not full:
            report(f"not checked: {label} (full-size network)")
        else:
            ok, bad = check_file(golden, label, report)
            passed, failed = passed + ok, failed + bad
    return passed, failed
