"""Step `world`: draws the procedural world and writes it as real files.

Config: the fields of `datasets.world.WorldConfig` and `seed`. Leaves train/, ucf101/ and msrvtt/.
"""

from __future__ import annotations

from bench.work import Work
from datasets.world import WorldConfig, write_world

VERSION = 1


def run(work: Work) -> None:
    """Writes the world into `work.out`. Raises ValueError for a size that is not allowed or not known."""
    config = dict(work.config)
    seed = int(config.pop("seed"))
    unknown = sorted(config.keys() - WorldConfig.__dataclass_fields__.keys())
    if unknown:
        raise ValueError(
            f"world.{unknown[0]} is not known. Known: {', '.join(WorldConfig.__dataclass_fields__)}, seed."
        )
    write_world(work.out, WorldConfig(**config), seed, lambda done, total: work.progress(done, total, "videos"))
