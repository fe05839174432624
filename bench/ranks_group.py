"""How do the ranks of a run talk? Messages of bytes over torch.distributed (gloo), and news of failures with them.

Everything is one kind of meeting, `exchange`: each rank brings some bytes and says whether it is well; a rank that
failed brings its message instead, and all others raise it. So nobody waits for a rank that has left a step. Tensors
travel as safetensors, never as pickles. On one machine the ranks listen on its loopback alone.
Shapes: payloads are uint8 (length,); a header is int64 (2,): failed or not, length.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from bench.errors import EXIT_FAILED, BenchError
from bench.ranks import Launch, RankFailed, RanksLost

T = TypeVar("T")
Tensors = dict[str, Tensor]
PATIENCE = timedelta(days=365)  # rank 0 may be busy for long; a rank that died is noticed by its closed connection
MEETING = timedelta(minutes=30)  # until all ranks have made their plans
BUCKET = 2**24  # numbers that one message carries
LOOPBACK = Path("/sys/class/net/lo")


class Group:
    """The ranks of one torchrun; see `bench.ranks.Ranks`."""

    def __init__(self, launch: Launch, gpu: bool = False) -> None:
        """Joins the group: waits until all ranks are there. `gpu`: gradients travel between GPUs (NCCL)."""
        self.rank, self.size = launch.rank, launch.size
        self.lost = False
        self._open = False  # between `begin` and `end` of a step, where others wait for this rank
        if launch.here == launch.size and LOOPBACK.exists():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        try:
            self._join("cpu:gloo,cuda:nccl" if gpu else "gloo")
        except RuntimeError as error:
            raise self._gone(error) from None

    def _join(self, backend: str) -> None:
        """Meets the others. Addresses of an earlier attempt may still lie in the store of a torchrun that restarted us:
        each attempt has its own names there (pytorch issue 135712).
        """
        store, rank, size = next(dist.rendezvous("env://", timeout=MEETING))
        named = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=named, rank=rank, world_size=size, timeout=PATIENCE)
        _all_gather(torch.zeros(1), size)  # nobody leaves before all are connected

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    # ---- meetings ----

    def exchange(self, payload: bytes, everyone: bool = True) -> list[bytes]:
        """What each rank brought, by rank; without `everyone` rank 0 alone is given it, the others nothing.

        Raises RankFailed when another rank failed in this step, RanksLost when one is gone.
        """
        return self._meet(payload, False, everyone)

    def fail(self, error: BaseException) -> None:
        """Tells the others that this rank cannot go on with the step; harmless when nobody waits for it."""
        if self._open and not self.lost:
            self._open = False
            words = f"{type(error).__name__}: {error}".encode(errors="backslashreplace")  # file names are any bytes
            self._meet(words, True, False)

    def desert(self, error: BaseException) -> NoReturn:
        """See `bench.ranks.Ranks.desert`."""
        sys.stderr.write(f"rank {self.rank} of {self.size}: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(EXIT_FAILED)

    def _meet(self, payload: bytes, failed: bool, everyone: bool) -> list[bytes]:
        try:
            return self._talk(payload, failed, everyone)
        except RuntimeError as error:
            raise self._gone(error) from None

    def _talk(self, payload: bytes, failed: bool, everyone: bool) -> list[bytes]:
        headers = _all_gather(torch.tensor([int(failed), len(payload)]), self.size)
        sick = [rank for rank, header in enumerate(headers) if header[0]]
        lengths = [int(header[1]) for header in headers]
        if sick:
            words = _padded(payload, lengths[sick[0]])
            dist.broadcast(words, sick[0])
            self._open = False
            if not failed:
                raise RankFailed(f"rank {sick[0]}: {words.numpy().tobytes().decode()}")
            return []
        if not max(lengths):
            return [b""] * self.size
        mine = _padded(payload, max(lengths))
        found = _all_gather(mine, self.size) if everyone else self._gather(mine)
        return [part[:length].numpy().tobytes() for part, length in zip(found, lengths, strict=False)]

    def _gather(self, mine: Tensor) -> list[Tensor]:
        """To rank 0 alone."""
        found = [torch.empty_like(mine) for _ in range(self.size)] if self.first else None
        dist.gather(mine, found, 0)
        return found or []

    # ---- what steps ask ----

    def share(self, items: Sequence[T], make: Callable[[T], Tensors], everyone: bool = False) -> Iterator[Tensors]:
        """See `bench.ranks.Ranks.share`: turn by turn, an item for each rank, so that memory holds one turn."""
        for start in range(0, len(items), self.size):
            turn = items[start : start + self.size]
            mine = make(turn[self.rank]) if self.rank < len(turn) else None
            brought = self.exchange(b"" if mine is None else save(_plain(mine)), everyone)
            for rank, blob in enumerate(brought[: len(turn)]):
                yield mine if mine is not None and rank == self.rank else load(blob)

    def from_first(self, words: str) -> str:
        """See `bench.ranks.Ranks.from_first`."""
        return self.exchange(words.encode() if self.first else b"")[0].decode()

    def gather(self, mine: Tensor) -> list[Tensor]:
        """See `bench.ranks.Ranks.gather`."""
        self.exchange(b"")  # are all well?
        try:
            return _all_gather(mine.cpu(), self.size)
        except RuntimeError as error:
            raise self._gone(error) from None

    def add(self, tensors: Sequence[Tensor]) -> None:
        """See `bench.ranks.Ranks.add`: buckets of one kind, so that few messages carry many tensors."""
        self.exchange(b"")  # are all well?
        try:
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in bucket])
                dist.all_reduce(flat)
                for tensor, piece in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                    tensor.copy_(piece.view(tensor.shape))
        except RuntimeError as error:
            raise self._gone(error) from None

    def _gone(self, error: BaseException) -> RanksLost:
        self.lost = True
        return RanksLost(
            f"rank {self.rank} of {self.size} lost another rank ({_first_line(error)}). Finished steps and "
            "checkpoints are kept: give the same command again to go on"
        )

    def agree(self, words: str, what: str) -> None:
        """See `bench.ranks.Ranks.agree`."""
        said = [blob.decode() for blob in self.exchange(words.encode())]
        other = next((rank for rank, one in enumerate(said) if one != said[0]), None)
        if other is not None:
            raise BenchError(
                f"the ranks differ in {what}: rank 0 has {said[0]}, rank {other} has {said[other]}. All need the same "
                "code, versions, kind of processor and files, and a store on a file system that they share"
            )

    # ---- the course of a run ----

    def tell(self, order: Mapping[str, Any]) -> None:
        """Rank 0 tells the others what comes next."""
        self.exchange(json.dumps(order).encode())

    def order(self) -> dict[str, Any]:
        """What rank 0 says comes next."""
        told: dict[str, Any] = json.loads(self.exchange(b"")[0])
        return told

    def begin(self, fingerprint: str) -> None:
        """See `bench.ranks.Ranks.begin`."""
        if self.first:
            self.tell({"step": fingerprint})
        self._open = True

    def end(self, costs: Mapping[str, Any]) -> dict[str, Any]:
        """See `bench.ranks.Ranks.end`: seconds are rank 0's, CPU seconds the sum, memory the sum of the peaks."""
        told = [json.loads(blob) for blob in self.exchange(json.dumps(dict(costs)).encode())]
        self._open = False
        summed = {key: round(sum(one[key] for one in told), 3) for key in ("cpu_seconds", "peak_memory_mb")}
        return {**told[0], **summed, "cpu_seconds_by_rank": [one["cpu_seconds"] for one in told]}

    def leave(self) -> None:
        """All are done: closes the connections. Not after an error: others may be waiting in a meeting."""
        dist.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type, about BUCKET numbers each."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.numel() for t in bucket) > BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _all_gather(mine: Tensor, size: int) -> list[Tensor]:
    found = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(found, mine)
    return found


def _padded(payload: bytes, length: int) -> Tensor:
    """uint8 (length,)."""
    found = torch.zeros(length, dtype=torch.uint8)
    if payload:
        kept = payload[:length]
        found[: len(kept)] = torch.frombuffer(bytearray(kept), dtype=torch.uint8)
    return found


def _plain(tensors: Mapping[str, Tensor]) -> Tensors:
    """As safetensors wants them."""
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def linger(seconds: float = 1.0) -> None:
    """Lets a signal that reached the whole group be seen before a lost connection is reported."""
    time.sleep(seconds)
