"""How does each system of the paper, and each of today's, enter a comparison; is it here, and what is missing?

Three ways in: weights of a role (`--weights ROLE=FILE`), a pipeline of diffusers (`--system NAME=DIR`), or a folder of
videos that the system made from exported conditions (`--system NAME=DIR`, or `bench score`).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError, known
from bench.fingerprint import FileHashes
from bench.profile import ROOT, load_profile
from bench.scoring.outputs import find_outputs
from bench.scoring.sources import DATASETS
from bench.sources import assignments
from bench.systems import open_pipeline
from models.external.adapter import Adapter
from models.external.folder import INDEX, INSTALL, is_pipeline, not_installed
from models.external.names import KNOWN, label_of, name_problem
from models.external.rules import Rules
from models.external.table import ADAPTERS

VIDEOS = "a folder of its videos, made from `python -m bench conditions`"
OF_WEIGHTS = {  # name -> (label, roles of weights, what it is here)
    "dynamicrafter": ("DynamiCrafter", ("dynamicrafter",), "trained in every variant of a question, on tiny priors"),
    "videocrafter": ("VideoCrafter", ("t2v",), "its place is taken by the tiny text-to-video prior"),
    "stable-diffusion": ("Stable Diffusion 2.1", ("t2i", "vae"), "its place is taken by the tiny text-to-image prior"),
}
STANDS_ON = {"dynamicrafter": ("t2v", "vae", "clip")}  # roles without which there is nothing to train on
INJECTION = {  # systems whose way of injecting the picture is a variant of our backbone
    "videocomposer": "its way of injecting the picture, in our backbone: ablations/injection.yaml",
    "i2vgen-xl": "its way of injecting the picture, in our backbone: ablations/injection.yaml",
}


@dataclass(frozen=True)
class Entry:
    """One system.

    Args:
        enters: by which ways.
        available: whether it has numbers in a run here and now, as this command knows.
        stand_in: whether what is here is not the system itself, but a tiny one in its place.
        here: what there is of it already.
        missing: what there is not; "" for nothing.
        where: the option that takes what is missing.
    """

    name: str
    label: str
    enters: str
    available: bool
    stand_in: bool
    here: str
    missing: str
    where: str

    @property
    def state(self) -> str:
        """'here', 'not here', or 'here: a tiny stand-in'."""
        return ("here: a tiny stand-in" if self.stand_in else "here") if self.available else "not here"

    @property
    def words(self) -> str:
        """On one line."""
        missing = f"; missing: {self.missing} ({self.where})" if self.missing else ""
        return f"{self.label}, {self.state}{missing}"

    @property
    def text(self) -> str:
        """On some lines, as `list systems` prints it."""
        told = {"enters": self.enters, "there is": self.here, "missing": self.missing, "give": self.where}
        lines = [f"    {what:<9} {words}" for what, words in told.items() if words]
        return "\n".join([f"  {self.name}  ({self.label}): {self.state}", *lines])

    def to_json(self) -> dict[str, Any]:
        """As `list systems --json` prints it."""
        return asdict(self)


def entries(given: Sequence[str] = ()) -> list[Entry]:
    """Every system, in the paper's order, then today's; `given`: values of `--system`, looked at.

    Raises UsageError with every error.
    """
    found = _given(given)
    names = (*OF_WEIGHTS, "videocomposer", "i2vgen-xl", "svd", "cogvideox", "wan", "ltx", "pikalabs", "gen-2")
    more = [name for name in found if name not in names]
    return [_entry(name, found.get(name)) for name in (*names, *more)]


def _given(values: Sequence[str]) -> dict[str, str]:
    """What each folder holds, in words."""
    names = [value.partition("=")[0] for value in values]
    errors = [f"--system {name}: {problem}" for name in names if (problem := name_problem(name))]
    errors += [f"--system {name}: it has no --system. {known(name, KNOWN)}" for name in names if name in OF_WEIGHTS]
    if errors:
        raise UsageError(errors)
    found = {}
    for name, root in assignments("--system", values, names).items():
        try:
            found[name] = _look_at(name, root)
        except (ValueError, OSError) as error:
            errors.append(f"--system {name}={root}: {error}")
    if errors:
        raise UsageError(errors)
    return found


def _look_at(name: str, root: Path) -> str:
    """What a folder holds: a pipeline, or how many videos; whether these are a run's only the run can say.

    Raises ValueError for neither.
    """
    if not root.is_dir():
        raise ValueError("there is no such folder")
    if is_pipeline(root):
        given = open_pipeline(name, root, FileHashes())
        assert given.pipeline is not None and given.rules is not None
        return f"{root.name}, sha256 {given.pipeline.digest[:12]} ({rule_words(given.rules)})"
    sets = [one for one in DATASETS if (root / one).is_dir()]
    counts = {one: len(find_outputs(root / one if one else root).outputs) for one in sets or ("",)}
    if not any(counts.values()):
        raise ValueError(f"it holds neither a pipeline ({INDEX}) nor videos")
    return ", ".join(f"{count} videos{f' of {one}' if one else ''}" for one, count in counts.items())


def _entry(name: str, given: str | None) -> Entry:
    if name in OF_WEIGHTS:
        return _of_weights(name, load_profile("tiny").weights)
    adapter = ADAPTERS.get(name)
    enters = f"{adapter.pipeline} of diffusers, or {VIDEOS}" if adapter else VIDEOS
    here = [*([given] if given else []), *([_ready(adapter)] if adapter else []), INJECTION.get(name, "")]
    missing = "" if given else f"{'the pipeline or the videos' if adapter else 'the videos'}"
    absent = not_installed() if adapter and not given else []
    if absent:
        missing = f"{' and '.join(absent)} ({INSTALL}), and {missing}"
    where = f"--system {name}=DIR" if missing else ""
    return Entry(name, label_of(name), enters, given is not None, False, "; ".join(filter(None, here)), missing, where)


def _of_weights(name: str, files: Mapping[str, str]) -> Entry:
    label, roles, stand_in = OF_WEIGHTS[name]
    needed = STANDS_ON.get(name, roles)
    absent = [role for role in needed if not (ROOT / files.get(role, "-")).is_file()]
    here = "" if absent else f"{stand_in} ({', '.join(files[role] for role in needed)})"
    options = " ".join(f"--weights {role}=FILE" for role in roles)
    missing = "the released checkpoint" if name == "dynamicrafter" else "its own weights"
    plural = "roles" if len(roles) > 1 else "role"
    enters = f"weights of the {plural} {' and '.join(roles)}"
    return Entry(name, label, enters, not absent, True, here, missing, options)


def _ready(adapter: Adapter) -> str:
    """The adapter, and which clips it asks for."""
    absent = not_installed()
    library = "" if absent else f"diffusers {importlib.metadata.version('diffusers')}, "
    return f"{library}an adapter ({rule_words(adapter.rules)})"


def rule_words(rules: Rules) -> str:
    """'8k+1 frames, sizes in steps of 32, told frames per second, prompt'."""
    height, width = rules.own_size
    frames = "any number of frames" if rules.frame_step == 1 else f"{rules.frame_step}k+1 frames"
    size = f"{width}x{height} only" if rules.fixed_size else f"sizes in steps of {rules.size_step}"
    pace = "told frames per second" if rules.told_rate else f"its own pace, {rules.own_fps} frames per second"
    return f"{frames}, {size}, {pace}, {'prompt' if rules.prompt else 'no prompt'}"
