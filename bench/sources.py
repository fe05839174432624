"""Where data and weights come from: what `--data`, `--weights` and the profile name, as digests and paths.

A user's folder is told apart by its videos, captions and lists, not by where it lies; a file of weights by
its sha256.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, known
from bench.fingerprint import FileHashes, digest, placeholder
from bench.graph import File
from bench.profile import MEASURING, ROOT, WEIGHTS, Profile

if TYPE_CHECKING:
    from bench.systems import Given
    from datasets.clip import Catalog

EVALUATION = ("ucf101", "msrvtt")
SHARDS = "shards"  # the catalog of training data that is streamed
DATA_ROLES = (*EVALUATION, "train")
WEIGHT_ROLES = tuple(role for role in WEIGHTS if role not in MEASURING)
WHOLE = 64 << 30  # bytes: files of larger data sets are told apart by size and mtime, not by content
FOLDERS = ("i3d", "dreamsim", "lpips")  # roles that may be a folder of files
DATA = "data "  # before the role, in the name of a set that is not given yet
CONTENTS = {  # role -> what the user gives
    "dynamicrafter": "a released checkpoint, .ckpt or .safetensors",
    "t2i": "the text-to-image parent, Stable Diffusion 2.1",
    "t2v": "the text-to-video parent, VideoCrafter",
    "vae": "the autoencoder of Stable Diffusion",
    "clip": "OpenCLIP ViT-H-14, text and image",
    "i3d": "I3D trained on Kinetics-400",
    "dreamsim": "DreamSim's weights",
    "lpips": "the trunk of LPIPS",
    **{role: "what a stage i trained" for role in WEIGHTS if role.startswith("stage_i_")},
    "interpolation": "what the last stage trained of a model that is shown the last picture too",
    "animation": "what a longer last stage trained of a model that is shown the first picture",
    f"{DATA}train": "training videos: WebVid-style CSV and files, or a plain folder",
    f"{DATA}ucf101": "UCF-101, with its split lists if there are any",
    f"{DATA}msrvtt": "MSR-VTT: annotation files and videos",
}


@dataclass(frozen=True)
class UserData:
    """A data set of the user's own."""

    role: str
    root: Path
    catalog: str
    content: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """What a plan stands on: files of weights by role, the sets that the user replaces, other systems."""

    weights: Mapping[str, File]
    data: Mapping[str, UserData] = field(default_factory=dict)
    systems: Mapping[str, Given] = field(default_factory=dict)  # other systems that are given, by name

    def weight(self, role: str) -> File:
        """The file of a role; a named placeholder when neither the profile nor the command gives one."""
        return self.weights.get(role) or File(Path(role), placeholder(role))

    def has(self, role: str) -> bool:
        """Whether there is a file for the role."""
        return role in self.weights and not self.weights[role].missing

    def evaluation(self, profile: Profile) -> tuple[str, ...]:
        """The evaluation sets: all of them, or without a world those that are given (if any is)."""
        given = tuple(role for role in EVALUATION if role in self.data)
        return EVALUATION if profile.world is not None or not given else given

    def absent_data(self, role: str) -> File:
        """Stands for a data set that the user has not given yet."""
        return File(Path(role), placeholder(f"{DATA}{role}"))


def assignments(
    option: str, values: Sequence[str], allowed: Sequence[str], measuring: Collection[str] = ()
) -> dict[str, Path]:
    """["ucf101=DIR", ...] -> {name: path}; `measuring` are names to refuse with the reason. Raises UsageError."""
    found: dict[str, Path] = {}
    errors = []
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not path:
            errors.append(f"{option} {value}: write {option} NAME=PATH. {known(name, allowed)}")
        elif name in measuring:
            errors.append(f"{option} {value}: measuring networks belong to the protocol. {known(name, allowed)}")
        elif name not in allowed:
            errors.append(f"{option} {value}: unknown name '{name}'. {known(name, allowed)}")
        elif name in found:
            errors.append(f"{option} {value}: '{name}' is given twice")
        else:
            found[name] = Path(path)
    if errors:
        raise UsageError(errors)
    return found


def find_sources(
    profile: Profile, data: Mapping[str, Path], weights: Mapping[str, Path], hashes: FileHashes
) -> Sources:
    """Digests of everything that the plan reads from outside; what is not given becomes a named placeholder.

    Raises UsageError with every error.
    """
    errors: list[str] = []
    sets: dict[str, UserData] = {}
    for role, root in data.items():
        try:
            sets[role] = user_data(profile, role, root, hashes)
        except (ValueError, OSError) as error:
            errors.append(f"--data {role}={root}: {error}")
    for role, path in weights.items():
        if not (path.is_file() or (role in FOLDERS and path.is_dir())):
            errors.append(f"--weights {role}={path}: there is no such file")
    if not errors:
        errors += _overlaps(profile, sets, hashes)
    if errors:
        raise UsageError(errors)
    return Sources(find_weights(profile, weights, hashes), sets)


def find_weights(profile: Profile, weights: Mapping[str, Path], hashes: FileHashes) -> dict[str, File]:
    """The files of the profile's roles and of `weights`, which win; one that is not there is a named placeholder."""
    paths = {**{role: ROOT / path for role, path in profile.weights.items()}, **weights}
    return {role: _file(role, path, hashes) for role, path in paths.items()}


def _file(role: str, path: Path, hashes: FileHashes) -> File:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return File(path, digest([[p.relative_to(path).as_posix(), hashes.sha256(p)] for p in inside]))
    return File(path, hashes.sha256(path) if path.is_file() else placeholder(role))


def missing(files: Sequence[File]) -> list[str]:
    """A line for each file or data set that is not there: what it is, and what to give."""
    return [_missing(file.digest.partition(":")[2], file.path) for file in files]


def _missing(name: str, path: Path) -> str:
    what = f" ({CONTENTS[name]})" if name in CONTENTS else ""
    if name.startswith(DATA):
        role = name.removeprefix(DATA)
        return f"data '{role}'{what}: give --data {role}=DIR"
    if path == Path(name):  # the profile names no file for it
        return f"weights '{name}'{what}: give --weights {name}=FILE"
    pretrain = "the tiny ones with `python -m bench pretrain`"
    how = f"Make {pretrain}" if name in MEASURING else f"Give --weights {name}=FILE, or make {pretrain}"
    return f"weights '{name}': {path} is not there. {how}"


def user_data(profile: Profile, role: str, root: Path, hashes: FileHashes) -> UserData:
    """Opens the user's folder as the data set of its role. Raises ValueError for what cannot be read."""
    from datasets.catalog import content_digest, open_catalog
    from datasets.files import file_size

    if not root.is_dir():
        raise ValueError("there is no such folder")
    name = catalog_name(role, root)
    if name == SHARDS:
        return _sharded(role, root)
    catalog = open_catalog(name, root, split_of(profile, role))
    if not catalog.videos:
        raise ValueError(f"no videos found. {' '.join(catalog.notes)}".strip())
    size = sum(file_size(video.path) for video in catalog.videos)
    content = content_digest(catalog, hashes.sha256 if size <= WHOLE else hashes.listed)
    return UserData(role, root.resolve(), name, content, catalog.notes)


def _sharded(role: str, root: Path) -> UserData:
    """Training data that is streamed: its manifest alone is read. Raises ValueError for one that is damaged."""
    from datasets.shards import read_shards

    if find_spec("webdataset") is None:
        raise ValueError("the package webdataset is not installed. Give: .venv/bin/pip install -e '.[shards]'")
    shards = read_shards(root)
    return UserData(role, root.resolve(), SHARDS, shards.digest, shards.notes)


def catalog_name(role: str, root: Path) -> str:
    """Which reader understands the folder: training data without a CSV file is a plain folder of videos."""
    from datasets.shards import is_shards

    if role != "train":
        return role
    if is_shards(root):
        return SHARDS
    return "webvid" if any(root.glob("*.csv")) else "folder"


def split_of(profile: Profile, role: str) -> str | None:
    """The split that the profile evaluates; training data, and sets that it does not name, are taken whole."""
    chosen = getattr(profile.evaluation, role, None)
    return chosen.split if chosen is not None else None


def _overlaps(profile: Profile, sets: Mapping[str, UserData], hashes: FileHashes) -> list[str]:
    """Training and evaluation must not share a video, by name or by content."""
    from datasets.catalog import open_catalog

    if "train" not in sets:
        return []
    check = _disjointness(sets["train"], hashes)
    errors = []
    for role in (r for r in EVALUATION if r in sets):
        try:
            check(open_catalog(sets[role].catalog, sets[role].root, split_of(profile, role)))
        except ValueError as error:
            errors.append(f"--data train and --data {role}: {error}")
    return errors


def _disjointness(train: UserData, hashes: FileHashes) -> Callable[[Catalog], None]:
    """Raises ValueError for an evaluation set that shares something with the training set."""
    from datasets.catalog import check_disjoint, check_listed, open_catalog
    from datasets.shards import listed, read_shards

    if train.catalog == SHARDS:
        shards = read_shards(train.root)
        return lambda evaluation: check_listed(train.root, listed(shards), evaluation, hashes.sha256)
    catalog = open_catalog(train.catalog, train.root, None)
    return lambda evaluation: check_disjoint(catalog, evaluation, hashes.sha256)
