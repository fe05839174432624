"""How do several processes do one step together? What a step's body may ask of them, and the answer of one alone.

A rank is one of the processes that torchrun started: 0 .. size - 1. Work is cut the same way whatever their number,
into fixed shards (a micro-batch, a batch of frames, a group of clips); shard k is done by rank k mod size, and results
come back in the order of the shards. So a step leaves the same bytes on 1, 2 or 3 ranks. This file imports no torch:
the group itself is `bench/ranks_group.py`, the engine `bench/ranks_engine.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = dict[str, Tensor]

T = TypeVar("T")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # all of them: torchrun started us


class RankFailed(BenchError):
    """A step failed on another rank: it says which one, and what was wrong there."""


class RanksLost(BenchError):
    """Another rank does not answer any more (killed, or its machine is gone)."""


@dataclass(frozen=True)
class Launch:
    """This process among those that torchrun started. `here`: how many of them run on this machine."""

    rank: int
    size: int
    local_rank: int
    here: int


def launched(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """What torchrun's environment variables say; None without them. Raises UsageError when they make no sense."""
    if any(name not in environ for name in VARIABLES):
        return None
    try:
        rank, size, local = (int(environ[name]) for name in VARIABLES[:3])
        here = int(environ.get("LOCAL_WORLD_SIZE", size))
    except ValueError:
        rank, size, local, here = 0, 0, 0, 0
    if not (0 <= rank < size and 0 <= local < here <= size):
        told = ", ".join(f"{name}={environ[name]}" for name in VARIABLES)
        raise UsageError(f"{told}: torchrun never sets these so. Unset them, or start by torchrun -m bench run ...")
    return Launch(rank, size, local, here)


def only_runs(arguments: Sequence[str]) -> None:
    """Under torchrun a run is all that makes sense: others would be done several times over. Raises UsageError."""
    launch = launched()
    if launch is not None and launch.size > 1 and ("run" not in arguments[:1] or "--dry-run" in arguments):
        raise UsageError("torchrun can start `python -m bench run SPEC...` alone: give other commands without it")


class Ranks(Protocol):
    """What the body of a step may ask. Every rank must ask the same, in the same order."""

    @property
    def rank(self) -> int:
        """Which of them this process is."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the one that writes files."""
        ...

    def share(
        self, items: Sequence[T], make: Callable[[T], Tensors], everyone: bool = False
    ) -> Iterator[Tensors]:
        """`make` of each item, in the order of the items, each made by one rank.

        Rank 0 is given all of them; the others nothing (they make their share while they iterate), unless `everyone`.
        """
        ...

    def from_first(self, words: str) -> str:
        """What rank 0 says: what it sees in a folder counts for all."""
        ...

    def gather(self, mine: Tensor) -> list[Tensor]:
        """The tensors of all ranks, by rank; all of one shape and kind. On the CPU."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Adds up the tensors of all ranks in place, in whatever order is fast; they may be on GPUs."""
        ...

    def agree(self, words: str, what: str) -> None:
        """Makes sure that all ranks say the same. Raises BenchError naming `what` and who says otherwise."""
        ...

    def begin(self, fingerprint: str) -> None:
        """Rank 0 starts a step: the others are told."""
        ...

    def fail(self, error: BaseException) -> None:
        """This rank cannot go on with the step: the others are told, and stop it too."""
        ...

    def desert(self, error: BaseException) -> NoReturn:
        """This rank failed where the others cannot be told, inside a sum that they wait in: it ends, which they see."""
        ...

    def end(self, costs: Mapping[str, Any]) -> dict[str, Any]:
        """All ranks are through with a step: what it cost all of them. Raises RankFailed when one failed."""
        ...


class Alone:
    """One process: it does everything, at once and in order."""

    rank, size, first = 0, 1, True

    def share(self, items: Sequence[T], make: Callable[[T], Tensors], everyone: bool = False) -> Iterator[Tensors]:
        """See `Ranks.share`."""
        return (make(item) for item in items)

    def from_first(self, words: str) -> str:
        """Its own words."""
        return words

    def gather(self, mine: Tensor) -> list[Tensor]:
        """See `Ranks.gather`."""
        return [mine]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add to them."""

    def agree(self, words: str, what: str) -> None:
        """Nobody to disagree with."""

    def begin(self, fingerprint: str) -> None:
        """Nobody to tell."""

    def fail(self, error: BaseException) -> None:
        """Nobody to tell."""

    def desert(self, error: BaseException) -> NoReturn:
        """Nobody waits: the error goes its way."""
        raise error

    def end(self, costs: Mapping[str, Any]) -> dict[str, Any]:
        """Its own costs."""
        return dict(costs)


ALONE = Alone()
