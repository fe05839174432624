"""What a profile may choose of training: weights cut over the ranks, an average of them, activations recomputed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.fingerprint import FileHashes
from bench.graph import Step
from bench.measure import resolve_protocols
from bench.planner import build_plan
from bench.profile import load_profile
from bench.ranks import ALONE, Ranks
from bench.sources import find_sources
from bench.spec import load_question
from bench.steps.train import settings_from
from bench.train import STATE, TrainSettings, train_stage
from models.weights import load_tensors, save_tensors
from tests.fixtures.crew import crew
from tests.fixtures.stages import SETTINGS, digest, stage_of

FSDP = replace(SETTINGS, sharding="fsdp", ema=0.9)
BOUND = 1e-4  # of a weight: a tenth of one optimiser step


def left(ranks: Ranks, settings: TrainSettings, scratch: Path, out: Path) -> list[dict[str, Any]]:
    """Trains, saves what the stage leaves (rank 0), returns the curve."""
    stage = stage_of(settings, ranks)
    curve = train_stage(stage, scratch)
    weights = stage.weights()
    if ranks.first:
        save_tensors(weights, out)
    return curve


def apart(one: Path, other: Path) -> float:
    """The largest difference of two files of weights, which must have the same names and shapes."""
    a, b = load_tensors(one), load_tensors(other)
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    return max(float((a[name] - b[name]).abs().max()) for name in a)


# ---- weights cut over the ranks ----


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_model_that_is_cut_over_ranks_ends_as_one_that_is_not(size: int, tmp_path: Path) -> None:
    expected = left(ALONE, replace(FSDP, sharding="none"), tmp_path / "a", tmp_path / "whole")
    curves = crew(size, left, FSDP, tmp_path / "b", tmp_path / "cut")
    assert all(curve == curves[0] for curve in curves)
    assert [line["loss"] for line in curves[0]] == pytest.approx([line["loss"] for line in expected], rel=1e-5)
    assert curves[0][-1]["image_scale"] == pytest.approx(expected[-1]["image_scale"], rel=1e-5)
    assert 0 < apart(tmp_path / "whole", tmp_path / "cut") < BOUND
    begun = stage_of(SETTINGS, ALONE).weights()
    moved = max(float((v - begun[k]).abs().max()) for k, v in load_tensors(tmp_path / "whole").items())
    assert moved > 5 * BOUND, "the bound tells a trained model from an untrained one"


def parts(ranks: Ranks) -> float:
    """The share of the trained numbers that this rank holds."""
    stage = stage_of(FSDP, ranks)
    mine = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in stage.trained)
    return mine / sum(p.numel() for p in stage.trained)


def test_each_rank_holds_its_part_alone() -> None:
    shares = crew(2, parts)
    assert sum(shares) == pytest.approx(1, abs=0.01) and max(shares) < 0.6


@pytest.mark.slow
def test_a_cut_model_leaves_a_checkpoint_that_any_number_of_ranks_goes_on_from(tmp_path: Path) -> None:
    short = replace(FSDP, steps=3, checkpoint_every=2)
    crew(2, left, short, tmp_path / "s", tmp_path / "cut")
    state = load_tensors(tmp_path / "s" / STATE)
    assert int(state["done"]) == 2 and any(name.startswith("average.") for name in state)
    for name, value in stage_of(SETTINGS, ALONE).weights().items():
        assert state[f"model.{name}"].shape == value.shape
    crew(3, left, short, tmp_path / "s", tmp_path / "again")
    assert apart(tmp_path / "cut", tmp_path / "again") < BOUND


def test_without_ranks_nothing_is_cut(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"fsdp.*torchrun"):
        stage_of(FSDP, ALONE)


# ---- an average of the weights ----


def test_the_average_is_what_the_stage_leaves() -> None:
    stage = stage_of(replace(SETTINGS, ema=0.5, steps=3), ALONE)
    expected = [p.detach().clone() for p in stage.trained]
    for done in range(3):
        stage.step()
        decay = min(0.5, (1 + done) / (10 + done))  # 1/10, 2/11, 3/12
        expected = [decay * a + (1 - decay) * p.detach() for a, p in zip(expected, stage.trained, strict=True)]
    last = [p.detach().clone() for p in stage.trained]
    stage.finish()
    for one, other, before in zip(expected, stage.trained, last, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-7)
        assert one.numel() < 50 or not torch.equal(other.detach(), before)


def test_the_average_survives_a_restart(tmp_path: Path) -> None:
    settings = replace(SETTINGS, ema=0.9)
    left(ALONE, settings, tmp_path / "a", tmp_path / "undisturbed")
    stage = stage_of(settings, ALONE)

    def stop(done: int, total: int, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(stage, tmp_path / "b", stop)
    left(ALONE, settings, tmp_path / "b", tmp_path / "resumed")
    assert (tmp_path / "undisturbed").read_bytes() == (tmp_path / "resumed").read_bytes()
    left(ALONE, SETTINGS, tmp_path / "c", tmp_path / "last")
    assert apart(tmp_path / "last", tmp_path / "resumed") > BOUND


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"train\.ema"):
        replace(SETTINGS, ema=decay)


# ---- activations recomputed ----


def kept(settings: TrainSettings) -> tuple[int, float, str]:
    """Bytes that the forward passes of one step keep for the backward ones, its loss, and the weights after it."""
    stage, held = stage_of(settings, ALONE), {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        line = stage.step()
    return sum(held.values()), line["loss"], digest(stage.weights())


def test_recomputing_activations_keeps_fewer_and_changes_no_bit() -> None:
    plain = replace(SETTINGS, micro_batch=4)
    bytes_of_all, loss, weights = kept(plain)
    bytes_of_few, same_loss, same_weights = kept(replace(plain, gradient_checkpointing=True))
    assert (loss, weights) == (same_loss, same_weights)
    assert bytes_of_few < 0.5 * bytes_of_all


# ---- in a profile ----


SPEC = 'question: Which?\nsource: "a test"\nvariants:\n  full: {label: "DynamiCrafter"}\n'


def train_steps(folder: Path, **changes: Any) -> list[Step]:
    """The training steps of the smoke profile with other choices in `stages`."""
    (folder / "which.yaml").write_text(SPEC)
    plain = load_profile("smoke")
    profile = plain.model_copy(update={"stages": plain.stages.model_copy(update=changes)})
    sources = find_sources(profile, {}, {}, FileHashes())
    protocol = resolve_protocols((), profile, sources)[0]
    plan = build_plan([load_question(folder / "which.yaml")], profile, sources, protocol)
    return [step for step in plan.graph if step.kind == "train"]


def test_new_choices_change_a_fingerprint_only_when_they_are_made(tmp_path: Path) -> None:
    plain = train_steps(tmp_path)
    assert not {"ema", "sharding", "gradient_checkpointing"} & {*plain[0].config, *plain[0].local}
    recomputed = train_steps(tmp_path, gradient_checkpointing=True)
    assert [s.fingerprint for s in recomputed] == [s.fingerprint for s in plain]
    assert settings_from({**recomputed[0].config, **recomputed[0].local}).gradient_checkpointing
    for change in ({"ema": 0.9}, {"sharding": "fsdp"}):
        changed = train_steps(tmp_path, **change)
        assert not {s.fingerprint for s in changed} & {s.fingerprint for s in plain}
        settings = settings_from({**changed[0].config, **changed[0].local})
        assert {name: getattr(settings, name) for name in change} == change
