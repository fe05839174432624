"""A study of an invented run, and raters who answer it as we want."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.study.answers import FORMAT
from bench.study.design import NO, YES, Key, Screen
from bench.study.make import Made, make
from tests.fixtures.run_folder import FakeRun, write_run

Choose = Callable[[Key, Screen], str]


@pytest.fixture(scope="session")
def study_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three variants, two datasets, two samples each."""
    fake = FakeRun(variants=("full", "no_ctx", "no_vdg"), samples=2, curves=False)
    return write_run(tmp_path_factory.mktemp("study") / "fake", fake)


@pytest.fixture(scope="session")
def made(study_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study of that run with two inputs per dataset and a known salt."""
    return make([study_run], tmp_path_factory.mktemp("made") / "study", items=2, salt="salt")


def favourite(system: int) -> Choose:
    """A rater who always picks this system, says yes to it and no to the others, and passes every check."""

    def choose(key: Key, screen: Screen) -> str:
        if screen.right is not None:
            return screen.right
        kind = next(c.kind for c in key.criteria if c.name == screen.criterion)
        mine = next((option.token for option in screen.options if option.system == system), None)
        return (mine or screen.options[0].token) if kind == "pick" else YES if mine else NO

    return choose


def answers(key: Key, rater: str, choose: Choose) -> dict[str, Any]:
    """A file of answers as the page saves it."""
    pace = 1 + zlib.crc32(rater.encode()) % 1000 / 100  # nobody is as quick as another
    given = [
        {"screen": s.id, "chosen": choose(key, s), "position": place % 2, "seconds": pace + place}
        for place, s in enumerate(key.screens)
    ]
    return {"format": FORMAT, "version": 1, "study": key.study, "rater": rater, "seed": 7, "answers": given}


def write(folder: Path, name: str, content: object) -> Path:
    """A JSON file."""
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
