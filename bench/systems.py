"""Which other systems are there, how does each enter a comparison, and what did `--system NAME=DIR` give?

DIR is the folder of a diffusers pipeline (for systems with an adapter in `models/external`), or of videos that the
system made from exported conditions, matched by id as `score` matches them (for any system). A folder of videos has a
folder for each data set, or is one data set's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError, cut
from bench.fingerprint import FileHashes, digest
from bench.graph import File
from bench.profile import Profile
from bench.scoring.ids import names_of
from bench.scoring.matching import Matched, match_outputs
from bench.scoring.outputs import some
from bench.sources import Sources, UserData, assignments
from bench.spec import Question
from models.external.adapter import Adapter
from models.external.folder import INDEX, INSTALL, files, is_pipeline, not_installed, rules_of
from models.external.rules import Rules
from models.external.table import ADAPTERS


@dataclass(frozen=True)
class Videos:
    """A system's videos of one data set, as step `collect` takes them.

    Args:
        items: [{id, name, prompt, content}] of videos with an id of the data set.
        files: {id: {path, pictures}}.
        notes: what was found beside them.
    """

    items: tuple[dict[str, str], ...]
    files: Mapping[str, dict[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What the user gave of one system: a pipeline with its rules, or videos by data set."""

    name: str
    root: Path
    pipeline: File | None = None
    rules: Rules | None = None
    videos: Mapping[str, Videos] = field(default_factory=dict)

    @property
    def adapter(self) -> Adapter:
        """Of a pipeline."""
        return ADAPTERS[self.name]


def how_to_give(name: str) -> str:
    """What to give for a system to have numbers."""
    videos = "its videos for what `bench conditions` exports"
    return f"--system {name}=DIR, {f'{ADAPTERS[name].pipeline} or ' if name in ADAPTERS else ''}{videos}"


def not_given(name: str) -> str:
    """What a report says of a system without numbers."""
    return f"not given: {how_to_give(name)}"


def with_systems(
    sources: Sources, values: Sequence[str], questions: Sequence[Question], profile: Profile, hashes: FileHashes
) -> Sources:
    """The sources with what `--system` gave. Raises UsageError with every error."""
    asked = dict.fromkeys(v.settings.system for q in questions for v in q.variants if v.settings.system)
    sets = {name: sources.data.get(name) for name in sources.evaluation(profile)}
    there = {name: data for name, data in sets.items() if data is not None or profile.world is not None}
    return replace(sources, systems=find_systems(values, tuple(asked), profile, there, hashes))


def find_systems(
    values: Sequence[str],
    asked: Sequence[str],
    profile: Profile,
    data: Mapping[str, UserData | None],
    hashes: FileHashes,
) -> dict[str, Given]:
    """["svd=DIR", ...] -> what is there, by name.

    Args:
        asked: systems that the questions have a row for.
        data: the evaluation sets; None: the profile's world.

    Raises UsageError with every error.
    """
    if values and not asked:
        raise UsageError(f"--system {values[0]}: no variant of these questions has `system: NAME`")
    found, errors = {}, []
    for name, root in assignments("--system", values, asked).items():
        try:
            found[name] = open_system(name, root, profile, data, hashes)
        except (ValueError, OSError) as error:
            errors.append(f"--system {name}={root}: {error}")
    if errors:
        raise UsageError(errors)
    return found


def open_system(
    name: str, root: Path, profile: Profile, data: Mapping[str, UserData | None], hashes: FileHashes
) -> Given:
    """Looks at one folder. Raises ValueError with what is wrong and what to do."""
    if not root.is_dir():
        raise ValueError("there is no such folder")
    if is_pipeline(root):
        return open_pipeline(name, root, hashes)
    nor = f". Nor is it a {ADAPTERS[name].pipeline}: there is no {INDEX}" if name in ADAPTERS else ""
    try:
        known = {dataset: _videos(root, dataset, profile, data[dataset], hashes) for dataset in data}
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}{nor}") from None
    videos = {dataset: found for dataset, found in known.items() if found is not None}
    if not videos:
        words = f"no video in it is named as one of {' or '.join(data)}; `python -m bench conditions` says how"
        raise ValueError(f"{words}{nor}")
    return Given(name, root, videos=videos)


def open_pipeline(name: str, root: Path, hashes: FileHashes) -> Given:
    """A pipeline's folder, checked and hashed. Raises ValueError."""
    adapter = ADAPTERS.get(name)
    if adapter is None:
        raise ValueError(f"the folder holds a pipeline, and there is no adapter for '{cut(name)}' (there are: "
                         f"{', '.join(ADAPTERS)}): give a folder of its videos")  # fmt: skip
    rules = rules_of(root, adapter)
    absent = not_installed()
    if absent:
        raise ValueError(f"{' and '.join(absent)} not installed: {INSTALL}; or give a folder of the system's videos")
    inside = [[path.relative_to(root).as_posix(), hashes.sha256(path)] for path in files(root)]
    return Given(name, root, File(root, digest(inside)), rules)


def _videos(root: Path, dataset: str, profile: Profile, data: UserData | None, hashes: FileHashes) -> Videos | None:
    """The videos of one data set, None where none is named as one of it."""
    own = root / dataset if (root / dataset).is_dir() else root
    matched = match_outputs(own, names_of(profile, dataset, data))
    if not matched.paired:
        return None
    items = tuple(
        {"id": item.id, "name": item.output.name, "prompt": item.prompt, "content": _content(item.output.files, hashes)}
        for item in matched.items
    )
    places = {
        item.id: {"path": str(item.output.path), "pictures": [str(path) for path in item.output.pictures]}
        for item in matched.items
    }
    return Videos(items, places, _notes(matched, own != root))


def _content(paths: Sequence[Path], hashes: FileHashes) -> str:
    return digest([hashes.sha256(path) for path in paths])


def _notes(matched: Matched, alone: bool) -> tuple[str, ...]:
    """What was found beside them; in a folder for all data sets the others' videos are no surprise."""
    if not alone or not matched.extra:
        return tuple(matched.notes)
    words = f"{len(matched.extra)} videos are none of the data set and are left out: {some(matched.extra)}"
    return (*matched.notes, words)
