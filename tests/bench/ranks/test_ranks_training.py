"""Training by several ranks: the bytes of one process, whoever computes a micro-batch and whoever takes over."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.gradients import Gradients, InOrder, Reduced
from bench.ranks import ALONE, Ranks
from bench.train import STATE, TrainSettings, train_stage
from tests.fixtures.crew import crew
from tests.fixtures.stages import SETTINGS, digest, stage_of


def trained(ranks: Ranks, settings: TrainSettings, scratch: Path) -> tuple[str, Any, list[int]]:
    """What a stage leaves, its curve, and the micro-batches that this rank computed, in their order."""
    stage, mine = stage_of(settings, ranks), []
    micro = stage.source.micro

    def seen(step: int, number: int) -> Any:
        mine.append(number)
        return micro(step, number)

    stage.source.micro = seen  # type: ignore[method-assign]
    curve = train_stage(stage, scratch)
    return digest(stage.weights()), curve, mine


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, list[int]]:
    return trained(ALONE, SETTINGS, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_two_or_three_ranks_leave_the_same_bytes(alone, size: int, tmp_path: Path) -> None:
    for rank, (weights, curve, mine) in enumerate(crew(size, trained, SETTINGS, tmp_path)):
        assert (weights, curve) == alone[:2]
        assert mine == [*range(rank, 4, size)] * 3, "who computes which micro-batch"


def test_ranks_without_a_micro_batch_change_nothing(tmp_path: Path) -> None:
    two = replace(SETTINGS, micro_batch=2, steps=2)
    expected = trained(ALONE, two, tmp_path / "alone")
    found = crew(3, trained, two, tmp_path / "crew")
    assert [one[:2] for one in found] == [expected[:2]] * 3
    assert [one[2] for one in found] == [[0, 0], [1, 1], []]


def dies(ranks: Ranks, settings: TrainSettings, scratch: Path) -> None:
    """Rank 1 dies in the third step; the others then end with an error, as nobody answers."""
    stage = stage_of(settings, ranks)
    step = stage.step

    def once() -> Any:
        if ranks.rank == 1 and stage.done == 2:
            os._exit(9)
        return step()

    stage.step = once  # type: ignore[method-assign]
    with pytest.raises(BenchError, match="lost another rank"):
        train_stage(stage, scratch)


def test_another_number_of_ranks_goes_on_where_a_group_was_killed(alone, tmp_path: Path) -> None:
    crew(2, dies, SETTINGS, tmp_path)
    assert (tmp_path / STATE).exists()
    for weights, curve, mine in crew(3, trained, SETTINGS, tmp_path):
        assert (weights, curve) == alone[:2] and len(mine) <= 2, "only the third step was made again"


def sees_another(ranks: Ranks, settings: TrainSettings, folder: Path) -> str:
    """Each rank has a scratch folder of its own, as on disks that are not shared."""
    try:
        trained(ranks, settings, folder / str(ranks.rank))
    except BenchError as error:
        return str(error)
    return "went on"


def test_ranks_that_do_not_see_one_checkpoint_stop(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(ALONE, replace(SETTINGS, steps=2), tmp_path / "0")
    for told in crew(2, sees_another, SETTINGS, tmp_path):
        assert "rank 0 has 1, rank 1 has 0" in told and "file system that they share" in told


def stopped(ranks: Ranks, settings: TrainSettings, scratch: Path) -> None:
    """Ctrl-C after the first step."""

    def stop(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    train_stage(stage_of(settings, ranks), scratch, stop)


# ---- how gradients are added up ----


class Crooked(nn.Module):
    """Parameters of several shapes and memory layouts, in magnitudes that make the order of a sum visible."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 7, 3).to(memory_format=torch.channels_last)
        self.line = nn.Linear(7, 5)
        self.scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, number: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(number)
        x = torch.randn(2, 3, 9, 9, generator=g) * 10.0**number
        return (self.line(self.conv(x).mean((2, 3))) * self.scale).square().mean()


def added(ranks: Ranks, kind: type[Gradients], count: int) -> tuple[float, float, list[bytes], list[Any]]:
    model = Crooked()
    trained = list(model.parameters())

    def backward(number: int, weight: float) -> float:
        loss = model(number)
        loss.backward()
        return loss.item()

    gradients = kind(trained, ranks)
    total, norm = gradients.add_up(count, backward), gradients.clip(1e-3)
    found = [p.grad for p in trained]
    return total, norm, [g.contiguous().numpy().tobytes() for g in found], [g.stride() for g in found]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gradients_are_added_in_the_order_of_micro_batches(count: int) -> None:
    expected = added(ALONE, Gradients, count)
    for size in (1, 2, 3):
        assert crew(size, added, InOrder, count) == [expected] * size


def test_an_all_reduce_gives_all_ranks_the_same_sum_near_to_it() -> None:
    expected = added(ALONE, Gradients, 5)
    found = crew(3, added, Reduced, 5)
    assert found[0] == found[1] == found[2]
    assert found[0][:2] == pytest.approx(expected[:2], rel=1e-5)
    assert crew(3, added, Reduced, 1)[2][:2] == pytest.approx(added(ALONE, Gradients, 1)[:2], rel=1e-5)


def halved(ranks: Ranks) -> str:
    model = Crooked()
    try:
        InOrder([*model.parameters(), nn.Parameter(torch.ones(2))], ranks).add_up(2, lambda n, w: _loss(model, n))
    except RuntimeError as error:
        return str(error)
    return "added"


def _loss(model: Crooked, number: int) -> float:
    model(number).backward()
    return 0.0


def test_a_parameter_that_no_loss_reaches_is_refused() -> None:
    assert crew(1, halved) == ["1 trained parameters take no part in the loss: leave them out"]
