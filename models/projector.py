"""The context projector P: image tokens of CLIP become context tokens for every frame.

Shapes: B clips, N image tokens (class token first) of E channels, T frames, Q tokens per frame of D channels;
the result (B, T * Q, D) is frame-major.
Source: DynamiCrafter, arXiv:2310.12190, section 3.2; the official `Resampler` (a Perceiver resampler).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import attend
from models.beside_text import BESIDE_TEXT, BesideText, Hierarchical
from models.config import ProjectorConfig


class AllTokens(nn.Module):
    """The projector sees every image token."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, E) -> same."""
        return tokens


class GlobalToken(nn.Module):
    """The projector sees the class token alone: what the image is, not where (the paper's Ours_G)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, E) -> (B, 1, E)."""
        return tokens[:, :1]


TOKEN_CHOICE: dict[str, type[nn.Module]] = {"full": AllTokens, "global_token": GlobalToken}


class QueryAttention(nn.Module):
    """Learned queries attend to the image tokens and to themselves, in this order along the keys."""

    def __init__(self, dim: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        inner = heads * head_channels
        self.norm_tokens = nn.LayerNorm(dim)
        self.norm_queries = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, heads * d) -> (B, heads, L, d)."""
        return x.unflatten(-1, (-1, self.head_channels)).transpose(1, 2)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B, M, dim), (B, N, dim) -> (B, M, dim)."""
        queries = self.norm_queries(queries)
        k, v = self.to_kv(torch.cat([self.norm_tokens(tokens), queries], dim=1)).chunk(2, dim=-1)
        out = attend(self.heads(self.to_q(queries)), self.heads(k), self.heads(v))
        return self.to_out(out.transpose(1, 2).flatten(2))


class QueryFeedForward(nn.Module):
    """LayerNorm, Linear, GELU, Linear; no biases in the linear layers."""

    def __init__(self, dim: int, multiple: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.linear_in = nn.Linear(dim, multiple * dim, bias=False)
        self.linear_out = nn.Linear(multiple * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, dim) -> same."""
        return self.linear_out(F.gelu(self.linear_in(self.norm(x))))


class ProjectorLayer(nn.Module):
    """One round: the queries look, then think."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.attention = QueryAttention(config.dim, config.heads, config.head_channels)
        self.feed_forward = QueryFeedForward(config.dim, config.ff_mult)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B, M, dim), (B, N, dim) -> (B, M, dim)."""
        queries = queries + self.attention(queries, tokens)
        return queries + self.feed_forward(queries)


class ContextProjector(nn.Module):
    """Image tokens to context tokens.

    `tokens` says which image tokens it sees: a key of TOKEN_CHOICE, else ValueError. `sees_latent`: whether the
    context depends on the condition latent too.
    """

    sees_latent = False

    def __init__(self, config: ProjectorConfig, tokens: str = "full") -> None:
        super().__init__()
        if tokens not in TOKEN_CHOICE:
            raise ValueError(f"tokens is {tokens!r}; known: {', '.join(TOKEN_CHOICE)}")
        self.choose = TOKEN_CHOICE[tokens]()
        count = config.tokens_per_frame * (config.frames or 1)
        self.queries = nn.Parameter(torch.randn(1, count, config.dim) / config.dim**0.5)
        self.linear_in = nn.Linear(config.embedding_dim, config.dim)
        self.layers = nn.ModuleList(ProjectorLayer(config) for _ in range(config.depth))
        self.linear_out = nn.Linear(config.dim, config.output_dim)
        self.norm_out = nn.LayerNorm(config.output_dim)

    def forward(self, image_tokens: Tensor) -> Tensor:
        """(B, N, E) -> (B, T * Q, D)."""
        tokens = self.linear_in(self.choose(image_tokens))
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            queries = layer(queries, tokens)
        return self.norm_out(self.linear_out(queries))

    def streams(self, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """What this part adds to the context: (B, N, E), ignored -> the image stream (B, T * Q, D)."""
        return {"image": self(image_tokens)}


class NoContext(nn.Module):
    """The part of a model without image context: it adds no stream."""

    sees_latent = False

    def streams(self, image_tokens: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Nothing."""
        return {}


AnyContext = ContextProjector | NoContext | BesideText | Hierarchical


def projector(config: ProjectorConfig, context: str) -> AnyContext:
    """The part that `context` names: "none", or a key of TOKEN_CHOICE or BESIDE_TEXT (else ValueError)."""
    if context in BESIDE_TEXT:
        return BESIDE_TEXT[context](config)
    if context not in {"none", *TOKEN_CHOICE}:
        raise ValueError(f"context is {context!r}; known: {', '.join(['none', *TOKEN_CHOICE, *BESIDE_TEXT])}")
    return NoContext() if context == "none" else ContextProjector(config, context)
