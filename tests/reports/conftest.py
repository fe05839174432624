"""One invented run, written and rendered once for all tests of the reports."""

from pathlib import Path

import pytest

from reports.load import Run, load
from reports.render import render
from tests.fixtures.run_extras import enrich
from tests.fixtures.run_folder import write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine variants, two datasets, three seeds, a hostile caption; rendered: report.html is in it."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "fake")
    render(folder)
    return folder


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with other protocols, other metrics, FVD against N and a user study besides; rendered."""
    folder = enrich(write_run(tmp_path_factory.mktemp("rich") / "fake"))
    render(folder)
    return folder


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return load(run_folder)


@pytest.fixture(scope="session")
def page(run_folder: Path) -> str:
    return (run_folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def twin(run_folder: Path) -> str:
    return (run_folder / "report.md").read_text(encoding="utf-8")
