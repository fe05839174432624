"""Where data and weights come from: what `--data`, `--weights` and the profile name, as digests and paths.

A user's folder is told apart by its videos, captions and lists, not by where it lies; a file of weights by
its sha256.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UsageError, known
from bench.fingerprint import FileHashes, placeholder
from bench.graph import File
from bench.profile import MEASURING, ROOT, WEIGHTS, Profile

EVALUATION = ("ucf101", "msrvtt")
DATA_ROLES = (*EVALUATION, "train")
WEIGHT_ROLES = tuple(role for role in WEIGHTS if role not in MEASURING)
WHOLE = 64 << 30  # bytes: files of larger data sets are told apart by size and mtime, not by content


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
    """What a plan stands on: files of weights by role, and the sets that the user replaces."""

    weights: Mapping[str, File]
    data: Mapping[str, UserData] = field(default_factory=dict)

    def weight(self, role: str) -> File:
        """The file of a role; raises KeyError for a role that the profile does not have."""
        return self.weights[role]


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
    """Digests of everything that the plan reads from outside. Raises UsageError with every error."""
    errors: list[str] = []
    sets: dict[str, UserData] = {}
    for role, root in data.items():
        try:
            sets[role] = user_data(profile, role, root, hashes)
        except (ValueError, OSError) as error:
            errors.append(f"--data {role}={root}: {error}")
    for role, path in weights.items():
        if not path.is_file():
            errors.append(f"--weights {role}={path}: there is no such file")
    if profile.world is None:
        absent = [role for role in DATA_ROLES if role not in data]
        errors += [f"profile {profile.name} has no world of its own: give --data {role}=DIR" for role in absent]
    if not errors:
        errors += _overlaps(profile, sets)
    if errors:
        raise UsageError(errors)
    files = {role: _file(role, path, hashes) for role, path in _paths(profile, weights).items()}
    return Sources(files, sets)


def _paths(profile: Profile, weights: Mapping[str, Path]) -> dict[str, Path]:
    return {**{role: ROOT / path for role, path in profile.weights.items()}, **weights}


def _file(role: str, path: Path, hashes: FileHashes) -> File:
    return File(path, hashes.sha256(path) if path.is_file() else placeholder(role))


def missing_weights(files: Sequence[File]) -> list[str]:
    """What to say about files of weights that a run needs and that are not there."""
    return [_missing(file.digest.partition(":")[2], file.path) for file in files]


def _missing(role: str, path: Path) -> str:
    pretrain = "the tiny ones with `python -m bench pretrain`"
    how = f"Make {pretrain}" if role in MEASURING else f"Give --weights {role}=FILE, or make {pretrain}"
    return f"weights '{role}': {path} is not there. {how}"


def user_data(profile: Profile, role: str, root: Path, hashes: FileHashes) -> UserData:
    """Opens the user's folder as the data set of its role. Raises ValueError for what cannot be read."""
    from datasets.catalog import content_digest, open_catalog

    if not root.is_dir():
        raise ValueError("there is no such folder")
    name = catalog_name(role, root)
    catalog = open_catalog(name, root, split_of(profile, role))
    if not catalog.videos:
        raise ValueError(f"no videos found. {' '.join(catalog.notes)}".strip())
    size = sum(video.path.stat().st_size for video in catalog.videos)
    content = content_digest(catalog, hashes.sha256 if size <= WHOLE else hashes.listed)
    return UserData(role, root.resolve(), name, content, catalog.notes)


def catalog_name(role: str, root: Path) -> str:
    """Which reader understands the folder: training data without a CSV file is a plain folder of videos."""
    if role != "train":
        return role
    return "webvid" if any(root.glob("*.csv")) else "folder"


def split_of(profile: Profile, role: str) -> str | None:
    """The split that the profile evaluates; training data is taken whole."""
    return None if role == "train" else getattr(profile.evaluation, role).split


def _overlaps(profile: Profile, sets: Mapping[str, UserData]) -> list[str]:
    """Training and evaluation must not share a video."""
    from datasets.catalog import check_disjoint, open_catalog

    if "train" not in sets:
        return []
    train = open_catalog(sets["train"].catalog, sets["train"].root, None)
    errors = []
    for role in (r for r in EVALUATION if r in sets):
        try:
            check_disjoint(train, open_catalog(sets[role].catalog, sets[role].root, split_of(profile, role)))
        except ValueError as error:
            errors.append(f"--data train and --data {role}: {error}")
    return errors
