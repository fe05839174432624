"""Who attends to whom: tokens to each other, and video tokens to the streams of the context.

Shapes: B clips, T frames, L tokens along the attended axis, C channels, D context channels, d channels of a
head. Each stream of the context has F sets of L tokens per clip: F = 1, all frames share them (text), or
F = T, every frame has its own (image). Keys and values depend on the context alone: computed once per clip.
Source: DynamiCrafter, arXiv:2310.12190, section 3.2 (dual-stream injection); the official `CrossAttention`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

MOST_HEADS = 65535  # CUDA's limit on this axis of the launch grid; a temporal layer has sites x heads of them


class KeysValues(NamedTuple):
    """Keys and values of one stream in one layer, each (B, F, heads, L, d)."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class Projected:
    """A context's keys and values in every cross-attention layer: {layer: {stream: KeysValues}}."""

    layers: Mapping[str, Mapping[str, KeysValues]]

    def map(self, change: Callable[[Tensor], Tensor]) -> Projected:
        """`change` applied to every tensor; all have the clips on axis 0."""
        return Projected(
            {
                name: {s: KeysValues(change(kv.keys), change(kv.values)) for s, kv in streams.items()}
                for name, streams in self.layers.items()
            }
        )

    def expand(self, batch: int) -> Projected:
        """One clip's context shown to `batch` clips, without a copy."""
        return self.map(lambda x: x.expand(batch, *x.shape[1:]))

    @staticmethod
    def concatenate(parts: Sequence[Projected]) -> Projected:
        """The clips of all parts in one batch, in order: the branches of guidance in one evaluation."""

        def join(layer: str, stream: str) -> KeysValues:
            pairs = [part.layers[layer][stream] for part in parts]
            return KeysValues(torch.cat([p.keys for p in pairs]), torch.cat([p.values for p in pairs]))

        layers = parts[0].layers.items()
        return Projected({layer: {s: join(layer, s) for s in streams} for layer, streams in layers})


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v; q (N, heads, L, d), k and v (N, heads, M, d) -> (N, heads, L, d)."""
    if q.shape[1] <= MOST_HEADS:
        return scaled_dot_product_attention(q, k, v)
    groups = zip(*(x.split(MOST_HEADS, dim=1) for x in (q, k, v)), strict=True)
    return torch.cat([scaled_dot_product_attention(*group) for group in groups], dim=1)


class SelfAttention(nn.Module):
    """Attention along axis 1 of (N, L, C) or (N, L, M, C); in the latter each of the M columns is alone.

    The columns are laid out as more heads, so that frames attend to frames without moving a value in memory.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def heads(self, x: Tensor) -> Tensor:
        """(N, L, [M,] C) -> (N, [M *] heads, L, d), a view."""
        return x.reshape(x.shape[0], x.shape[1], -1, self.head_channels).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, [M,] C) -> same."""
        out = attend(self.heads(self.to_q(x)), self.heads(self.to_k(x)), self.heads(self.to_v(x)))
        return self.to_out(out.transpose(1, 2).reshape(x.shape))


class Stream(nn.Module):
    """One stream of the context: its keys and values, weight 1."""

    def __init__(self, channels: int, context_dim: int, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.to_k = nn.Linear(context_dim, channels, bias=False)
        self.to_v = nn.Linear(context_dim, channels, bias=False)

    def scale(self) -> float:
        """The weight of this stream in the sum of streams (lambda)."""
        return 1.0

    def heads(self, x: Tensor) -> Tensor:
        """(B, F, L, C) -> (B, F, heads, L, d)."""
        return x.unflatten(-1, (-1, self.head_channels)).transpose(2, 3)

    def project(self, context: Tensor) -> KeysValues:
        """(B, F, L, D) -> keys and values, each (B, F, heads, L, d)."""
        return KeysValues(self.heads(self.to_k(context)), self.heads(self.to_v(context)))


class LearnedScale(Stream):
    """A stream weighted by lambda = tanh(alpha) + 1; alpha, one per layer, is learned from 0 (lambda from 1).

    Attention is linear in its values, so lambda multiplies these: once per clip, not once per denoising step.
    """

    def __init__(self, channels: int, context_dim: int, head_channels: int) -> None:
        super().__init__(channels, context_dim, head_channels)
        self.alpha = nn.Parameter(torch.zeros(()))

    def scale(self) -> float:
        """lambda, in (0, 2)."""
        return float(torch.tanh(self.alpha.detach()) + 1)

    def project(self, context: Tensor) -> KeysValues:
        """(B, F, L, D) -> keys, and values times lambda, each (B, F, heads, L, d)."""
        keys, values = super().project(context)
        return KeysValues(keys, values * (torch.tanh(self.alpha) + 1))


# Which streams a layer attends to, and how each is weighted.
IMAGE_STREAMS: dict[str, dict[str, type[Stream]]] = {
    "none": {"text": Stream},
    "fixed": {"text": Stream, "image": Stream},
    "learned": {"text": Stream, "image": LearnedScale},
}


class CrossAttention(nn.Module):
    """Sites of the frames attend to every stream of the context with one query: the sum over the streams.

    `image_stream`: a key of IMAGE_STREAMS, else ValueError. `name` is this layer's key in `Projected`.
    """

    def __init__(self, channels: int, context_dim: int, head_channels: int, image_stream: str) -> None:
        super().__init__()
        if image_stream not in IMAGE_STREAMS:
            raise ValueError(f"image_stream is {image_stream!r}; known: {', '.join(IMAGE_STREAMS)}")
        self.name = ""
        self.head_channels = head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        kinds = IMAGE_STREAMS[image_stream]
        self.streams = nn.ModuleDict({k: s(channels, context_dim, head_channels) for k, s in kinds.items()})
        self.to_out = nn.Linear(channels, channels)

    def project(self, context: Mapping[str, Tensor]) -> dict[str, KeysValues]:
        """{stream: (B, F, L, D)} -> its keys and values; ValueError when the streams are not this layer's."""
        if set(context) != set(self.streams):
            raise ValueError(
                f"the context has the streams {sorted(context)}; this model attends to {sorted(self.streams)}"
            )
        return {key: self.stream(key).project(context[key]) for key in self.streams}

    def stream(self, key: str) -> Stream:
        """The stream called `key`."""
        stream = self.streams[key]
        assert isinstance(stream, Stream)
        return stream

    def forward(self, x: Tensor, projected: Projected) -> Tensor:
        """((B T), h w, C) -> same."""
        q = self.to_q(x)
        out = sum(self.one_stream(q, kv) for kv in projected.layers[self.name].values())
        return self.to_out(out)

    def one_stream(self, q: Tensor, kv: KeysValues) -> Tensor:
        """Queries ((B T), h w, C) against (B, F, heads, L, d): frames that share a set are one long query."""
        sets = kv.keys.shape[0] * kv.keys.shape[1]
        queries = q.reshape(sets, -1, kv.keys.shape[2], self.head_channels).transpose(1, 2)
        out = attend(queries, kv.keys.flatten(0, 1), kv.values.flatten(0, 1))
        return out.transpose(1, 2).reshape(q.shape)
