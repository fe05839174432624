"""What does a score stand on? Protocols by name, measuring networks, and the reference: a user's folder or the world.

`--reference NAME=DIR`: ucf101, msrvtt or folder; `NAME=world` is the profile's own procedural world. Nothing stands in
silently: without a reference there is no FVD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, known
from bench.fingerprint import FileHashes
from bench.profile import MEASURING, Profile
from bench.sources import WEIGHT_ROLES, Sources, UserData, assignments, find_weights, user_data

DATASETS = ("ucf101", "msrvtt", "folder")
WORLD = "world"  # in the place of a folder: the profile's own


@dataclass(frozen=True)
class Reference:
    """Real videos of one data set; `data` None: the profile's world."""

    dataset: str
    data: UserData | None = None

    @property
    def world(self) -> str:
        """As a record says it: 'tiny' (procedural) or 'real'."""
        return "tiny" if self.data is None else "real"


def find_references(
    profile: Profile, given: Sequence[str], hashes: FileHashes, option: str = "--reference"
) -> list[Reference]:
    """["ucf101=DIR", ...] -> references. Raises UsageError with every error, naming the option."""
    found, errors = [], []
    for name, path in assignments(option, given, DATASETS).items():
        try:
            found.append(_reference(profile, name, path, hashes))
        except (ValueError, OSError) as error:
            errors.append(f"{option} {name}={path}: {error}")
    if errors:
        raise UsageError(errors)
    return found


def _reference(profile: Profile, dataset: str, path: Path, hashes: FileHashes) -> Reference:
    if str(path) != WORLD or dataset == "folder":
        return Reference(dataset, user_data(profile, dataset, path, hashes))
    if profile.world is None:
        raise ValueError(f"profile {profile.name} has no world of its own: give a folder")
    return Reference(dataset)


def weights_of(profile: Profile, given: Sequence[str], hashes: FileHashes) -> Sources:
    """The files of the profile and of `--weights ROLE=FILE`; no data. Raises UsageError with every error."""
    named = assignments("--weights", given, WEIGHT_ROLES, MEASURING)
    absent = [f"--weights {role}={path}: there is no such file" for role, path in named.items() if not path.exists()]
    if absent:
        raise UsageError(absent)
    return Sources(find_weights(profile, named, hashes), {})


def check_dataset(name: str) -> str:
    """The data set of that name. Raises UsageError naming the known ones."""
    if name not in DATASETS:
        raise UsageError(f"data set is '{name}'. {known(name, DATASETS)}")
    return name
