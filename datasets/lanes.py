"""Which sample of the shards comes at which place of a stream? The seed says it, so a stream can go on anywhere.

The stream is cut into lanes, each read on its own: lane l of L takes the shards l, l + L, ... of an epoch's order
(drawn anew for each epoch), so that nobody who reads one lane opens the shards of another. Of a lane's samples in an
epoch, each `window` in a row are shuffled among themselves: that many are held in memory, whatever the number of
samples. With fewer shards than lanes every lane reads all of them and takes each L-th sample.

Position p of a lane is thus (epoch, window, place in it), found by counting: to go on at p, one shard is read up to the
window's first sample, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from datasets.draws import generator
from datasets.shards import Sample, Shard, Shards, read_samples

Read = Callable[[Shards, Shard], Iterator[Sample]]


@dataclass(frozen=True)
class Part:
    """What one lane takes of one shard: samples first, first + step, ..., `count` of them."""

    shard: Shard
    first: int
    step: int
    count: int


@dataclass(frozen=True)
class Place:
    """Where a position lies: sample `index` of the lane's samples in an epoch, before they are shuffled, is at `place`
    of a window that begins at `start` and holds `size`.
    """

    epoch: int
    start: int
    size: int
    place: int


@dataclass(frozen=True)
class Order:
    """The order of all lanes. `window`: samples shuffled among themselves, and held, in each lane."""

    shards: Shards
    lanes: int
    window: int
    seed: int

    def __post_init__(self) -> None:
        if min(self.lanes, self.window) < 1:
            raise ValueError(f"lanes is {self.lanes}, the shuffle window {self.window}; allowed: 1 or more")
        if len(self.shards) < self.lanes:
            raise ValueError(
                f"{self.shards.root}: {len(self.shards)} samples for {self.lanes} lanes (the micro-batches of a step); "
                "more videos are needed"
            )

    @cached_property
    def filled(self) -> tuple[Shard, ...]:
        """Shards that hold anything."""
        return tuple(shard for shard in self.shards.shards if shard.samples)

    def parts(self, lane: int, epoch: int) -> list[Part]:
        """What a lane reads in an epoch, in order."""
        drawn = generator(self.seed, "shards", epoch).permutation(len(self.filled))
        order = [self.filled[int(k)] for k in drawn]
        if len(order) >= self.lanes:
            return [Part(shard, 0, 1, shard.samples) for shard in order[lane :: self.lanes]]
        parts = []
        before = 0  # samples of earlier shards: lanes go on counting over them
        for shard in order:
            first = (lane - before) % self.lanes
            count = len(range(first, shard.samples, self.lanes))
            parts += [Part(shard, first, self.lanes, count)] if count else []
            before += shard.samples
        return parts

    def shuffled(self, lane: int, epoch: int, start: int, size: int) -> list[int]:
        """The order in which the samples of one window come."""
        drawn: np.ndarray = generator(self.seed, "window", lane, epoch, start).permutation(size)
        return [int(k) for k in drawn]


class Lane:
    """One lane, read at growing positions: what is held is one window.

    Args:
        order: of all lanes.
        number: which of them this is.
        read: how a shard is read (tests count).
    """

    def __init__(self, order: Order, number: int, read: Read = read_samples) -> None:
        self.order, self.number, self._read = order, number, read
        self._epoch, self._before = 0, 0  # the epoch looked at, and the samples of the lane before it
        self._parts: list[Part] = []
        self._total = 0  # the lane's samples in the epoch looked at
        self._look_at(0)
        self._held: tuple[int, int] | None = None  # epoch and start of the window in memory
        self._window: list[Sample] = []
        self._rest: Iterator[Sample] = iter(())
        self._next: tuple[int, int] | None = None  # where `_rest` goes on: epoch, sample

    def sample(self, position: int) -> tuple[Sample, int]:
        """The sample at a position, and the epoch that it belongs to."""
        at = self.place(position)
        self._hold(at)
        return self._window[self.order.shuffled(self.number, at.epoch, at.start, at.size)[at.place]], at.epoch

    def others(self, position: int) -> Iterator[tuple[Sample, int]]:
        """Samples that stand in, in this order, for a bad one: those of its window, in memory already, then as many as
        an epoch has from the next window on.
        """
        at = self.place(position)
        first, total = position - at.place, self._total
        for ahead in range(1, at.size):
            yield self.sample(first + (at.place + ahead) % at.size)
        for further in range(first + at.size, first + at.size + total):
            yield self.sample(further)

    def place(self, position: int) -> Place:
        """Where a position lies."""
        if position < self._before:
            self._before = 0
            self._look_at(0)
        while position - self._before >= self._total:
            self._before += self._total
            self._look_at(self._epoch + 1)
        inside, window = position - self._before, self.order.window
        start = inside - inside % window
        return Place(self._epoch, start, min(window, self._total - start), inside - start)

    def _look_at(self, epoch: int) -> None:
        self._epoch, self._parts = epoch, self.order.parts(self.number, epoch)
        self._total = sum(part.count for part in self._parts)

    def _hold(self, at: Place) -> None:
        """Has the window of a place in memory; the one before goes first."""
        if self._held == (at.epoch, at.start):
            return
        self._held, self._window = None, []
        if self._next != (at.epoch, at.start):
            self._rest = self._from(at.start)
        for _ in range(at.size):
            self._window.append(next(self._rest))
        self._held, self._next = (at.epoch, at.start), (at.epoch, at.start + at.size)
        if at.start + at.size == self._total:
            for _ in self._rest:  # the last shard's end, where its content is compared with the manifest
                pass

    def _from(self, first: int) -> Iterator[Sample]:
        """The lane's samples of the epoch at hand, from the `first` on; shards before it are not opened."""
        for part in list(self._parts):
            if first >= part.count:
                first -= part.count
                continue
            wanted = range(part.first, part.shard.samples, part.step)[first:]
            for index, sample in enumerate(self._read(self.order.shards, part.shard)):
                if index in wanted:
                    yield sample
            first = 0
