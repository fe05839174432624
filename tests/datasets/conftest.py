"""The smallest procedural world that has every part, written once for all tests of `datasets`."""

from pathlib import Path

import pytest
from video_files import WORLD

from datasets.world import write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "w"
    write_world(root, WORLD, seed=3)
    return root
