"""How many floating-point operations and parameters does a configuration come to? Told without building it.

A multiplication and an addition are two operations; matrix products, convolutions and attention are counted, as
torch's FlopCounterMode counts them, nothing else is. Backward passes: a product gives its input a gradient where
something before it is trained, and its weight where that is trained, each as dear as the product itself.
Shapes: T frames, h x w latent sites of one clip; numbers are per clip, per frame or per image as they say.
Checked against FlopCounterMode and against parameter counts of the built models in tests/models/test_flops.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from models.config import (
    ENCODED_DETAIL,
    TEXT_STREAM_ALONE,
    AutoencoderConfig,
    ClipConfig,
    ModelConfig,
    ProjectorConfig,
    UNetConfig,
)

EMBEDDING = 4  # width of the embeddings over model_channels, as in models/unet.py
FEED_FORWARD = 4  # inner width over channels, as in models/transformers.py
GLOBAL_TOKENS, DETAIL_WIDTHS, GRID = 4, (32, 64), 32  # as in models/beside_text.py
WIDER = 4  # of a latent's channels, as in models/condition_encoder.py


@dataclass(frozen=True)
class Op:
    """One product.

    Args:
        group: of its weight, one of `models.dynamicrafter.GROUPS`; "" where it has none.
        flops: of one forward pass over one clip.
        parameters: of the layer, its bias and the norm before it included.
        stream: "text" or "image" for what depends on the context alone, "latent" for what depends on the clip.
        products: matrix products in it; attention has two, both of whose factors may need a gradient.
    """

    group: str
    flops: float
    parameters: int = 0
    stream: str = "latent"
    products: int = 1


@dataclass
class UNetOps:
    """The products of one evaluation of the U-Net on one clip, in the order in which they run."""

    config: UNetConfig
    frames: int
    height: int  # latent sites
    width: int
    text_tokens: int
    image_tokens: int  # that a frame sees
    image_sets: int  # sets of image tokens per clip: one per frame, or one
    beside_text: bool = False  # whether some of the text's tokens come from the image
    ops: list[Op] = field(default_factory=list)

    def linear(self, rows: float, given: int, made: int, group: str, bias: bool = True, stream: str = "latent") -> None:
        """A matrix on `rows` rows."""
        self.ops.append(Op(group, 2.0 * rows * given * made, given * made + made * bias, stream))

    def convolution(self, sites: float, given: int, made: int, taps: int, group: str) -> None:
        """A convolution that leaves `sites` sites."""
        self.ops.append(Op(group, 2.0 * sites * given * made * taps, given * made * taps + made))

    def norm(self, channels: int, group: str) -> None:
        """Two numbers per channel; not counted as work."""
        self.ops.append(Op(group, 0.0, 2 * channels))

    def attention(self, pairs: float, channels: int) -> None:
        """Scores and sums of `pairs` (query, key) pairs."""
        self.ops.append(Op("", 4.0 * pairs * channels, products=2))

    def sites(self, level: int) -> int:
        """Of one frame at a level."""
        return (self.height >> level) * (self.width >> level)

    def run(self) -> list[Op]:
        """All of them."""
        c = self.config
        widths = [m * c.model_channels for m in c.channel_mult]
        self._inputs()
        skips, channels = [c.model_channels], c.model_channels
        for level, width in enumerate(widths):
            for _ in range(c.num_res_blocks):
                self._block(level, channels, width)
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.convolution(self.frames * self.sites(level + 1), channels, channels, 9, "spatial")
                skips.append(channels)
        last = len(widths) - 1
        self._residual(last, channels, channels)
        self._transformers(last, channels)
        self._residual(last, channels, channels)
        for level, width in reversed(list(enumerate(widths))):
            for number in range(c.num_res_blocks + 1):
                self._block(level, channels + skips.pop(), width)
                channels = width
                if level and number == c.num_res_blocks:
                    self.convolution(self.frames * self.sites(level - 1), channels, channels, 9, "spatial")
        self.norm(c.model_channels, "spatial")
        self.convolution(self.frames * self.sites(0), c.model_channels, c.out_channels, 9, "spatial")
        return self.ops

    def _inputs(self) -> None:
        """Embeddings, the first convolution, the first temporal transformer."""
        c, wide = self.config, EMBEDDING * self.config.model_channels
        for _ in range(1 + c.fps_condition):
            self.linear(1, c.model_channels, wide, "spatial")
            self.linear(1, wide, wide, "spatial")
        self.convolution(self.frames * self.sites(0), c.in_channels, c.model_channels, 9, "conv_in")
        if c.init_attention:
            self._temporal(0, c.model_channels, c.init_attention_heads * c.num_head_channels)

    def _block(self, level: int, given: int, made: int) -> None:
        self._residual(level, given, made)
        if 2**level in self.config.attention_resolutions:
            self._transformers(level, made)

    def _residual(self, level: int, given: int, made: int) -> None:
        """Residual block and temporal convolution."""
        sites = self.frames * self.sites(level)
        self.norm(given, "spatial")
        self.convolution(sites, given, made, 9, "spatial")
        self.linear(1, EMBEDDING * self.config.model_channels, made, "spatial")
        self.norm(made, "spatial")
        self.convolution(sites, made, made, 9, "spatial")
        if given != made:
            self.convolution(sites, given, made, 1, "spatial")
        for _ in range(4 if self.config.temporal_conv else 0):
            self.norm(made, "temporal")
            self.convolution(sites, made, made, 3, "temporal")

    def _transformers(self, level: int, channels: int) -> None:
        head = self.config.num_head_channels
        inner = channels // head * head
        self._spatial(level, channels, inner)
        if self.config.temporal_attention:
            self._temporal(level, channels, inner)

    def _spatial(self, level: int, channels: int, inner: int) -> None:
        sites = self.sites(level)
        rows = self.frames * sites
        self.norm(channels, "spatial")
        self.linear(rows, channels, inner, "spatial")
        for _ in range(self.config.transformer_depth):
            self._self_attention(rows, inner, rows * sites, "spatial")
            self.norm(inner, "spatial")
            self._context(rows, inner)
            self._feed_forward(rows, inner, "spatial")
        self.linear(rows, inner, channels, "spatial")

    def _context(self, rows: int, inner: int) -> None:
        """Cross-attention: keys and values of each stream, queries, a sum."""
        dim, stream = self.config.context_dim, "image" if self.beside_text else "text"
        self.linear(rows, inner, inner, "spatial", bias=False)
        for _ in range(2):
            self.linear(self.text_tokens, dim, inner, "spatial", bias=False, stream=stream)
        self.attention(rows * self.text_tokens, inner)
        if self.config.image_stream != "none":
            for _ in range(2):
                tokens = self.image_sets * self.image_tokens
                self.linear(tokens, dim, inner, "image_stream", bias=False, stream="image")
            self.attention(rows * self.image_tokens, inner)
            self.ops.append(Op("lambda", 0.0, int(self.config.image_stream == "learned"), "image"))
        self.linear(rows, inner, inner, "spatial")

    def _temporal(self, level: int, channels: int, inner: int) -> None:
        rows = self.frames * self.sites(level)
        self.norm(channels, "temporal")
        self.linear(rows, channels, inner, "temporal")
        for _ in range(self.config.transformer_depth):
            for _ in range(2):
                self._self_attention(rows, inner, rows * self.frames, "temporal")
            self._feed_forward(rows, inner, "temporal")
        self.linear(rows, inner, channels, "temporal")

    def _self_attention(self, rows: int, inner: int, pairs: int, group: str) -> None:
        self.norm(inner, group)
        for _ in range(3):
            self.linear(rows, inner, inner, group, bias=False)
        self.attention(pairs, inner)
        self.linear(rows, inner, inner, group)

    def _feed_forward(self, rows: int, inner: int, group: str) -> None:
        self.norm(inner, group)
        self.linear(rows, inner, 2 * FEED_FORWARD * inner, group)
        self.linear(rows, FEED_FORWARD * inner, inner, group)


@cache  # a plan of a thousand variants asks for the same few configurations again and again
def unet_ops(model: ModelConfig) -> tuple[Op, ...]:
    """The products of one evaluation of a model's U-Net on one clip, keys and values of the context among them."""
    factor = model.autoencoder.downsampling
    per_frame = model.projector.frames is not None
    tokens = model.projector.tokens_per_frame
    walk = UNetOps(
        config=_seen(model),
        frames=model.frames,
        height=model.height // factor,
        width=model.width // factor,
        text_tokens=model.clip.text_length + beside_tokens(model),
        image_tokens=tokens,
        image_sets=model.frames if per_frame else 1,
        beside_text=beside_tokens(model) > 0,
    )
    return (*_detail(model), *walk.run())


def beside_tokens(model: ModelConfig) -> int:
    """Image tokens that stand beside the text's."""
    height, width = _grid(model)
    details = -(-height // 4) * -(-width // 4)
    return {"beside_text": GLOBAL_TOKENS, "hierarchical": GLOBAL_TOKENS + details}.get(model.context, 0)


def _grid(model: ModelConfig) -> tuple[int, int]:
    """Sites that a detail encoder keeps before it halves them."""
    factor = model.autoencoder.downsampling
    return min(model.height // factor, GRID), min(model.width // factor, GRID)


def _detail(model: ModelConfig) -> Iterator[Op]:
    """The encoder of the condition in the U-Net's input, in every evaluation; none for a latent taken as it is."""
    if model.visual_detail_guidance not in ENCODED_DETAIL:
        return
    factor, channels = model.autoencoder.downsampling, model.unet.out_channels
    rows, wide = model.frames * (model.height // factor) * (model.width // factor), WIDER * model.unet.out_channels
    convolutions = ((channels, wide, 9), (wide, wide, 9), (wide, channels, 9))
    matrices = [(channels, channels, 0)] * 3 + [(channels, channels, 1), (channels, wide, 1), (wide, channels, 1)]
    for given, made, taps in convolutions:
        yield Op("detail", 2.0 * rows * given * made * taps, given * made * taps + made)
    yield Op("detail", 0.0, 4 * channels)  # two norms
    yield Op("", 4.0 * rows * model.frames * channels, products=2)
    for given, made, bias in matrices:
        yield Op("detail", 2.0 * rows * given * made, given * made + made * bias)


def _seen(model: ModelConfig) -> UNetConfig:
    """The U-Net that the streams of `model` ask for, as `models.dynamicrafter.unet_config` has it."""
    channels = model.unet.out_channels * (1 if model.visual_detail_guidance == "none" else 2)
    stream = "none" if model.context in TEXT_STREAM_ALONE else model.unet.image_stream
    return replace(model.unet, in_channels=channels, image_stream=stream)


def projector_ops(model: ModelConfig) -> list[Op]:
    """The products of the context projector on one clip."""
    if model.context in TEXT_STREAM_ALONE:
        return list(_beside_text(model))
    return list(_projector(model))


def _beside_text(model: ModelConfig) -> Iterator[Op]:
    """What makes tokens that stand beside the text's; nothing without context."""
    c, (height, width) = model.projector, _grid(model)
    if model.context == "none":
        return
    yield _dense(1, c.embedding_dim, c.dim, bias=True)
    yield _dense(1, c.dim, GLOBAL_TOKENS * c.output_dim, bias=True)
    if model.context != "hierarchical":
        return
    factor, given = model.autoencoder.downsampling, model.unet.out_channels
    whole = (model.height // factor) * (model.width // factor)
    half, quarter = -(-height // 2) * -(-width // 2), -(-height // 4) * -(-width // 4)
    for sites, made in ((whole, DETAIL_WIDTHS[0]), (half, DETAIL_WIDTHS[1]), (quarter, c.output_dim)):
        yield Op("projector", 2.0 * sites * given * made * 9, given * made * 9 + made, "image")
        given = made


def _projector(model: ModelConfig) -> Iterator[Op]:
    c: ProjectorConfig = model.projector
    tokens = model.clip.image_tokens if model.context == "full" else 1
    queries, inner = c.tokens_per_frame * (c.frames or 1), c.heads * c.head_channels
    yield _dense(tokens, c.embedding_dim, c.dim, bias=True)
    yield Op("projector", 0.0, queries * c.dim, "image")
    for _ in range(c.depth):
        yield _dense(queries, c.dim, inner)
        yield _dense(tokens + queries, c.dim, 2 * inner)
        yield Op("", 4.0 * queries * (tokens + queries) * inner, 0, "image", products=2)
        yield _dense(queries, inner, c.dim)
        yield _dense(queries, c.dim, c.ff_mult * c.dim)
        yield _dense(queries, c.ff_mult * c.dim, c.dim)
        yield Op("projector", 0.0, 6 * c.dim, "image")  # three norms
    yield _dense(queries, c.dim, c.output_dim, bias=True)
    yield Op("projector", 0.0, 2 * c.output_dim, "image")


def _dense(rows: int, given: int, made: int, bias: bool = False) -> Op:
    return Op("projector", 2.0 * rows * given * made, given * made + made * bias, "image")


# ---- what a step of the plan needs ----


def forward_flops(model: ModelConfig) -> float:
    """One evaluation of the U-Net on one clip with its context used once: as the official forward pass is counted."""
    return sum(op.flops for op in unet_ops(model))


def denoise_flops(model: ModelConfig) -> float:
    """One evaluation on one clip whose context is projected already."""
    return sum(op.flops for op in unet_ops(model) if op.stream == "latent")


def context_flops(model: ModelConfig) -> float:
    """Context projector, keys and values of one clip and one branch: once per sample."""
    own = sum(op.flops for op in unet_ops(model) if op.stream != "latent")
    return own + sum(op.flops for op in projector_ops(model))


def training_flops(model: ModelConfig, groups: Collection[str]) -> float:
    """Forward and backward pass of one clip, where the parameters of `groups` are trained."""
    projector, unet = projector_ops(model), unet_ops(model)
    total = sum(op.flops for op in (*projector, *unet))
    image = "projector" in groups  # a gradient goes back into the image tokens
    first = True
    for op in projector if image else ():
        total += op.flops * op.products if not op.group else op.flops * (1 if first else 2)
        first = first and not op.flops
    return total + sum(_backward(unet, groups, image))


def _backward(ops: Sequence[Op], groups: Collection[str], image: bool) -> Iterator[float]:
    """What each product costs on the way back."""
    reached = False  # whether the clip's values depend on something that is trained
    keys_reached = False
    for op in ops:
        trained = op.group in groups and op.flops > 0
        if op.stream != "latent":
            keys_reached = keys_reached or trained or (op.stream == "image" and image)
            yield op.flops * (trained + (op.stream == "image" and image))
            continue
        if op.group:
            yield op.flops * (trained + reached)
        elif reached or keys_reached:
            yield op.flops * op.products
            reached = True
        reached = reached or trained
        keys_reached = keys_reached and bool(op.group)


def sampling_flops(model: ModelConfig, steps: int, branches: int) -> float:
    """One clip, from its encoded conditions to pixels."""
    per_branch = steps * denoise_flops(model) + context_flops(model)
    return branches * per_branch + model.frames * decoding_flops(model.autoencoder, model.height, model.width)


@cache
def model_parameters(model: ModelConfig) -> int:
    """Of U-Net and context projector."""
    return sum(op.parameters for op in (*unet_ops(model), *projector_ops(model)))


def trained_parameters(model: ModelConfig, groups: Collection[str]) -> int:
    """Of the named groups."""
    return sum(op.parameters for op in (*unet_ops(model), *projector_ops(model)) if op.group in groups)


# ---- frozen networks ----


def encoding_flops(config: AutoencoderConfig, height: int, width: int) -> float:
    """Autoencoder: one frame to its latent."""
    total, sites, given = 0.0, height * width, config.channels
    total += _conv(sites, config.in_channels, given)
    for level, multiple in enumerate(config.channel_mult):
        made = multiple * config.channels
        for _ in range(config.num_res_blocks):
            total, given = total + _resnet(sites, given, made), made
        if level < len(config.channel_mult) - 1:
            sites //= 4
            total += _conv(sites, made, made)
    total += _middle(sites, given) + _conv(sites, given, 2 * config.z_channels)
    return total + _conv(sites, 2 * config.z_channels, 2 * config.embed_dim, 1)


def decoding_flops(config: AutoencoderConfig, height: int, width: int) -> float:
    """Autoencoder: one frame's latent to pixels."""
    sites = (height // config.downsampling) * (width // config.downsampling)
    given = config.channels * config.channel_mult[-1]
    total = _conv(sites, config.embed_dim, config.z_channels, 1) + _conv(sites, config.z_channels, given)
    total += _middle(sites, given)
    for level, multiple in reversed(list(enumerate(config.channel_mult))):
        made = multiple * config.channels
        for _ in range(config.num_res_blocks + 1):
            total, given = total + _resnet(sites, given, made), made
        if level:
            sites *= 4
            total += _conv(sites, made, made)
    return total + _conv(sites, given, config.out_channels)


def _conv(sites: int, given: int, made: int, taps: int = 9) -> float:
    return 2.0 * sites * given * made * taps


def _resnet(sites: int, given: int, made: int) -> float:
    shortcut = _conv(sites, given, made, 1) if given != made else 0.0
    return _conv(sites, given, made) + _conv(sites, made, made) + shortcut


def _middle(sites: int, channels: int) -> float:
    return 2 * _resnet(sites, channels, channels) + 4 * _conv(sites, channels, channels, 1) + 4.0 * sites**2 * channels


def image_tower_flops(config: ClipConfig) -> float:
    """CLIP: one image to its tokens."""
    patches = config.image_tokens - 1
    return _conv(patches, 3, config.vision_width, config.patch_size**2) + config.vision_layers * _layer(
        config.image_tokens, config.vision_width
    )


def text_tower_flops(config: ClipConfig) -> float:
    """CLIP: one prompt to its tokens; the last layer is never evaluated."""
    return (config.text_layers - 1) * _layer(config.text_length, config.text_width)


def _layer(tokens: int, width: int) -> float:
    """A transformer layer whose feed-forward part is four times as wide."""
    return 2.0 * tokens * width * width * (4 + 8) + 4.0 * tokens**2 * width


def clip_encoding_flops(model: ModelConfig, images: int) -> float:
    """One clip and its prompt encoded; `images`: how many of its frames go through the image tower."""
    frames = model.frames * encoding_flops(model.autoencoder, model.height, model.width)
    return frames + images * image_tower_flops(model.clip) + text_tower_flops(model.clip)
