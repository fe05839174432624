"""Which ids may the videos of a data set have? Those of the user's folder, or of the procedural world."""

from __future__ import annotations

from bench.profile import Profile
from bench.scoring.conditions import safe_names
from bench.scoring.matching import Names
from bench.sources import UserData, split_of


def names_of(profile: Profile, dataset: str, data: UserData | None) -> Names:
    """The ids of everything in a data set, and the names that exported conditions give them; `data` None: the world."""
    ids = _world_ids(profile, dataset) if data is None else _ids(profile, data)
    return Names.of(ids, dict(zip(safe_names(ids), ids, strict=True)))


def _ids(profile: Profile, data: UserData) -> list[str]:
    from datasets.catalog import open_catalog

    return [video.id for video in open_catalog(data.catalog, data.root, split_of(profile, data.role)).videos]


def _world_ids(profile: Profile, dataset: str) -> list[str]:
    """Ids of the procedural world, which may not be made yet."""
    from datasets.world import WorldConfig, evaluation_ids

    assert profile.world is not None, "a set that is nowhere is refused before"
    config = profile.world.model_dump()
    seed = config.pop("seed")
    return list(evaluation_ids(WorldConfig(**config), seed, dataset))
