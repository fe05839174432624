"""Where the tests find real files, and the settings every test shares."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} does not name a folder: these files are not part of the repository")
    return Path(value)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder of real clips and annotation files (`BENCH_TEST_DATA`)."""
    return _folder("BENCH_TEST_DATA")


@pytest.fixture(scope="session")
def golden() -> Path:
    """A folder of reference numbers (`BENCH_GOLDEN`), with `dynamicrafter/` and `metrics/` in it."""
    return _folder("BENCH_GOLDEN")
