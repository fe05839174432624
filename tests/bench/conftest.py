"""A harness with toy steps: a profile, a spec and weights that exist, in a folder of their own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import graph
from bench.cli import main
from bench.profile import REQUIRED_WEIGHTS
from tests.bench.toys.__main__ import KINDS

PROFILE = """\
description: "toys"
world: {train_videos: 4, ucf101_groups: 8, ucf101_clips: 1, msrvtt_videos: 4, seed: 7}
clip: {frames: 8, frame_stride: 3, train_strides: [3], height: 32, width: 32}
model: tiny
weights:
  t2i: w/t2i.safetensors
  t2v: w/t2v.safetensors
  vae: w/vae.safetensors
  clip: w/clip.safetensors
  classifier: w/classifier.safetensors
  perceptual: w/perceptual.safetensors
stages:
  i: {steps: 2}
  ii: {steps: 3}
  iii: {steps: 4}
  batch: 4
  micro_batch: 2
  learning_rate: 1.0e-3
sampling: {steps: 2, spacing: uniform_trailing, guidance: single, batch: 2}
protocol: tiny/v1
samples: 2
seeds: [0, 1]
previews: 2
"""
RUN = ["run", "question.yaml", "--profile", "./profile.yaml", "--workers", "2", "--quiet"]
SPEC = """\
question: What do the parts do?
source: "a test"
variants:
  full:    {label: "all"}
  no_ctx:  {label: "w/o ctx", model.context: none}
  no_vdg:  {label: "w/o VDG", model.visual_detail_guidance: none}
expect:
  - {claim: "more is better", metric: fvd, better: [full, no_ctx]}
"""


def use_toys(patch: pytest.MonkeyPatch) -> None:
    """Every kind of step is a toy; worker processes find them through PYTHONPATH."""
    patch.setattr(graph, "_MODULES", {})
    for kind in KINDS:
        graph.register_kind(kind, f"tests.bench.toys.{kind}")
    root = str(Path(__file__).resolve().parents[2])
    patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))


def furnish(folder: Path) -> None:
    """profile.yaml, question.yaml and files of weights, whose paths are absolute: other processes find them."""
    (folder / "profile.yaml").write_text(PROFILE.replace(": w/", f": {folder}/w/"))
    (folder / "question.yaml").write_text(SPEC)
    (folder / "w").mkdir()
    for role in REQUIRED_WEIGHTS:
        (folder / "w" / f"{role}.safetensors").write_text(role)


@pytest.fixture
def toy_kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toy steps for one test."""
    use_toys(monkeypatch)
    yield
    graph.kind_version.cache_clear()


@pytest.fixture(scope="session")
def done_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy folder in which question.yaml has been run."""
    folder = tmp_path_factory.mktemp("done")
    furnish(folder)
    with pytest.MonkeyPatch.context() as patch:
        use_toys(patch)
        patch.chdir(folder)
        assert main(RUN) == 0
    return folder


@pytest.fixture
def done(done_once: Path, toy_kinds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a toy folder whose run is finished; the working directory of the test."""
    folder = tmp_path / "done"
    shutil.copytree(done_once, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def toy(toy_kinds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy folder in which nothing has run; the working directory of the test."""
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
