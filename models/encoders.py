"""What do the frozen CLIP towers say about a prompt and about the condition image.

Shapes: B rows, L text positions of D channels, N image tokens (class token first) of E channels; images float
in [-1, 1]. Parameter names are those of the published `cond_stage_model` and `embedder` (`model.` first).
Source: OpenCLIP (open_clip 3.3, whose blocks take the batch first); DynamiCrafter takes the penultimate text
layer, and all image tokens of the last layer before `ln_post`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ClipConfig
from models.image_preprocess import ClipPreprocess

CLIP_VOCABULARY = 49408  # the two last ids are BOS and EOT, 0 pads
UNUSED_BY_TEXT = ("model.visual.", "model.text_projection", "model.logit_scale")
UNUSED_BY_IMAGE = (
    *("model.transformer.", "model.token_embedding.", "model.positional_embedding", "model.ln_final."),
    *("model.text_projection", "model.logit_scale", "model.visual.ln_post.", "model.visual.proj"),
)


@lru_cache(maxsize=1)
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


def fold_tokens(tokens: Tensor, vocab_size: int) -> Tensor:
    """Maps CLIP's ids onto a smaller vocabulary: BOS and EOT stay the two last ids, 0 stays padding.

    The others become 1 + (id - 1) mod (vocab_size - 3): words may share an id, the same words in every run.

    Raises:
        ValueError: vocab_size is not within 4..49408.
    """
    if not 4 <= vocab_size <= CLIP_VOCABULARY:
        raise ValueError(f"clip.vocab_size is {vocab_size}; allowed: 4 to {CLIP_VOCABULARY}")
    if vocab_size == CLIP_VOCABULARY:
        return tokens
    special = tokens >= CLIP_VOCABULARY - 2
    words = torch.where(tokens == 0, 0, 1 + (tokens - 1) % (vocab_size - 3))
    return torch.where(special, tokens - CLIP_VOCABULARY + vocab_size, words)


def tokenize(texts: list[str], config: ClipConfig) -> Tensor:
    """CLIP's tokens of each text, cut to the text length with EOT kept: (B, L) int64."""
    return fold_tokens(_tokenizer()(texts, context_length=config.text_length), config.vocab_size)


def _select(state: Mapping[str, Tensor], module: nn.Module, unused: tuple[str, ...]) -> dict[str, Tensor]:
    """The part of a whole CLIP's state that `module` has; what it leaves out must be known to be unused."""
    wanted = set(module.state_dict())
    extra = [k for k in state if k not in wanted and not k.startswith(unused)]
    missing = sorted(wanted - set(state))
    if extra or missing:
        raise ValueError(f"{type(module).__name__}: keys missing {missing}; keys not understood {extra}")
    return {k: v for k, v in state.items() if k in wanted}


class _ImageTower(nn.Module):
    """Only gives the tower its published name, `model.visual`."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual


class TextEncoder(nn.Module):
    """Prompts to the tokens that the text stream attends to: penultimate layer, then the final norm.

    The last block of the tower is never evaluated and therefore not built.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        if config.text_layers < 2:
            raise ValueError(
                f"clip.text_layers is {config.text_layers}; allowed: 2 or more (the penultimate is taken)"
            )
        self.config = config
        self.model = TextTransformer(
            context_length=config.text_length,
            vocab_size=config.vocab_size,
            width=config.text_width,
            heads=config.text_heads,
            layers=config.text_layers - 1,
            proj_type="none",
        )

    def tokenize(self, texts: list[str]) -> Tensor:
        """(B, L) int64 ids of the texts, folded when the vocabulary is smaller than CLIP's."""
        return tokenize(texts, self.config)

    def forward(self, tokens: Tensor) -> Tensor:  # (B, L) int64 -> (B, L, D)
        x = self.model.token_embedding(tokens) + self.model.positional_embedding
        x = self.model.transformer(x, attn_mask=self.model.attn_mask)
        return self.model.ln_final(x)

    def weights_from(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This encoder's part of a whole CLIP's state (a `ClipPair`, or a published text or image embedder).

        Raises:
            ValueError: a key is missing, or is neither needed here nor known to be unused.
        """
        last = f"model.transformer.resblocks.{self.config.text_layers - 1}."
        return _select(state, self, (*UNUSED_BY_TEXT, last))


class ImageEncoder(nn.Module):
    """The condition image to all tokens of the last layer, class token first, before `ln_post`."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocess = ClipPreprocess(config.image_size)
        visual = VisionTransformer(
            image_size=config.image_size,
            patch_size=config.patch_size,
            width=config.vision_width,
            layers=config.vision_layers,
            heads=config.vision_width // config.vision_head_width,
            mlp_ratio=4.0,
            output_dim=config.embed_dim,
        )
        visual.ln_post, visual.proj = nn.Identity(), None  # the joint embedding is not what P reads
        self.model = _ImageTower(visual)

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W) in [-1, 1] -> (B, N, E)
        visual = self.model.visual
        patches = visual.conv1(self.preprocess(image)).flatten(2).transpose(1, 2)  # (B, N-1, E)
        first = visual.class_embedding.expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + visual.positional_embedding
        return visual.transformer(visual.ln_pre(x))

    def weights_from(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This encoder's part of a whole CLIP's state.

        Raises:
            ValueError: a key is missing, or is neither needed here nor known to be unused.
        """
        return _select(state, self, UNUSED_BY_IMAGE)


class ClipPair(nn.Module):
    """Both towers with their projections, for contrastive training; its state serves both encoders."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocess = ClipPreprocess(config.image_size)
        self.model = CLIP(
            config.embed_dim,
            CLIPVisionCfg(
                layers=config.vision_layers,
                width=config.vision_width,
                head_width=config.vision_head_width,
                patch_size=config.patch_size,
                image_size=config.image_size,
            ),
            CLIPTextCfg(
                context_length=config.text_length,
                vocab_size=config.vocab_size,
                width=config.text_width,
                heads=config.text_heads,
                layers=config.text_layers,
            ),
        )

    def tokenize(self, texts: list[str]) -> Tensor:
        """(B, L) int64 ids of the texts."""
        return tokenize(texts, self.config)

    def image_embedding(self, image: Tensor) -> Tensor:
        """Unit vectors of images: (B, 3, H, W) in [-1, 1] -> (B, embed_dim)."""
        return F.normalize(self.model.encode_image(self.preprocess(image)), dim=-1)

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """Unit vectors of prompts: (B, L) int64 -> (B, embed_dim)."""
        return F.normalize(self.model.encode_text(tokens), dim=-1)

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Logits of every image (rows) against every text (columns): (B, 3, H, W), (B', L) -> (B, B')."""
        scale = self.model.logit_scale.exp()
        return scale * self.image_embedding(image) @ self.text_embedding(tokens).T
