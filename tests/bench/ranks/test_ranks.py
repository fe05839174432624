"""Ranks: work is cut into fixed shards, results come in the order of the shards, a failure reaches everyone."""

import os
import subprocess
import sys

import pytest
import torch

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.ranks import ALONE, Launch, RankFailed, RanksLost, launched
from bench.ranks_group import Group
from tests.fixtures.crew import crew

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def test_torchrun_is_known_by_its_variables() -> None:
    assert launched({}) is None
    assert launched({name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"}) is None
    assert launched(TORCHRUN) == Launch(1, 4, 1, 4)
    assert launched({**TORCHRUN, "LOCAL_WORLD_SIZE": "2"}) == Launch(1, 4, 1, 2)


@pytest.mark.parametrize("wrong", [{"RANK": "4"}, {"RANK": "one"}, {"LOCAL_RANK": "-1"}, {"LOCAL_WORLD_SIZE": "5"}])
def test_variables_that_make_no_sense_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="WORLD_SIZE=4"):
        launched({**TORCHRUN, **wrong})


@pytest.mark.parametrize("words", [["plan", "x.yaml"], ["list"], [], ["run", "x.yaml", "--dry-run"]])
def test_only_a_run_may_be_started_by_torchrun(words: list[str], monkeypatch, capsys) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    assert "torchrun" in capsys.readouterr().err


def shared(ranks: Group, count: int, everyone: bool) -> list[tuple[int, int]]:
    """(item, who made it), as this rank is given them."""
    make = lambda item: {"made": torch.tensor([item, ranks.rank])}  # noqa: E731
    return [tuple(found["made"].tolist()) for found in ranks.share(range(count), make, everyone)]


@pytest.mark.parametrize(("size", "count"), [(1, 3), (2, 5), (3, 4), (3, 2), (2, 0)])
def test_shards_are_made_in_turn_and_come_in_order(size: int, count: int) -> None:
    expected = [(item, item % size) for item in range(count)]
    first, *others = crew(size, shared, count, False)
    assert first == expected and others == [[]] * (size - 1)
    assert crew(size, shared, count, True) == [expected] * size
    assert [int(found["made"]) for found in ALONE.share(range(3), lambda k: {"made": torch.tensor(k)})] == [0, 1, 2]


def refused(ranks: Group) -> tuple[str, list[bytes]]:
    """Rank 1 fails in its second item; then all meet again."""

    def make(item: int) -> dict[str, torch.Tensor]:
        if item == 4:
            raise ValueError("clip \udcff is odd")  # a file name that is no UTF-8
        return {"made": torch.tensor([item])}

    if not ranks.first:
        assert ranks.order() == {"step": "a step"}
    ranks.begin("a step")
    try:
        list(ranks.share(range(9), make))
        words = "well"
    except RankFailed as error:
        words = str(error)
    except ValueError as error:
        ranks.fail(error)
        words = f"mine: {error}"
    return words, ranks.exchange(b"still here")


def test_a_failure_on_one_rank_is_raised_on_all_and_they_can_go_on() -> None:
    told = crew(3, refused)
    assert [words for words, _ in told] == [
        "rank 1: ValueError: clip \\udcff is odd",
        "mine: clip \udcff is odd",
        "rank 1: ValueError: clip \\udcff is odd",
    ]
    assert all(after == [b"still here"] * 3 for _, after in told)


def deserted(ranks: Group) -> str:
    if ranks.rank == 1:
        os._exit(9)
    try:
        ranks.exchange(b"anyone?")
    except RanksLost as error:
        return str(error)
    return "not noticed"


def test_a_rank_that_dies_is_noticed_by_the_others() -> None:
    one, dead, another = crew(3, deserted)
    assert dead is None
    assert "rank 0 of 3 lost another rank" in one and "give the same command again" in one
    assert "rank 2 of 3 lost another rank" in another


def compared(ranks: Group, words: list[str]) -> str:
    try:
        ranks.agree(words[ranks.rank], "the checkpoint")
    except BenchError as error:
        return str(error)
    return "agreed"


def test_ranks_that_differ_are_told_apart() -> None:
    assert crew(2, compared, ["step 3", "step 3"]) == ["agreed"] * 2
    for told in crew(3, compared, ["step 3", "step 3", "step 2"]):
        assert "differ in the checkpoint: rank 0 has step 3, rank 2 has step 2" in told


def summed(ranks: Group) -> list[list[float]]:
    mine = [torch.full((2, 2), float(ranks.rank + 1)), torch.full((3,), 10.0, dtype=torch.float64)]
    ranks.add(mine)
    return [tensor.flatten().tolist() for tensor in mine]


def test_tensors_are_added_in_place_over_the_ranks() -> None:
    assert crew(3, summed) == [[[6.0] * 4, [30.0] * 3]] * 3


def spent(ranks: Group) -> dict[str, object]:
    costs = {"seconds": 5.0 + ranks.rank, "cpu_seconds": 2.0 * ranks.rank, "peak_memory_mb": 100.0}
    return ranks.end(costs)


def test_a_step_costs_what_all_ranks_spent() -> None:
    expected = {"seconds": 5.0, "cpu_seconds": 6.0, "peak_memory_mb": 300.0, "cpu_seconds_by_rank": [0.0, 2.0, 4.0]}
    assert crew(3, spent) == [expected] * 3


def test_threads_are_fixed_before_numpy_and_torch_are_loaded() -> None:
    """Both look at the variables only when they are loaded; another number of threads may change last bits."""
    code = (
        "import os, sys; import bench.cli; from bench.ranks_engine import pin; pin('256'); "
        "print(os.environ['OPENBLAS_NUM_THREADS'], 'numpy' in sys.modules, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["8", "False", "False"]
