"""Which layers does lambda act in, and how is it turned up or down in some of them after training?

The paper speaks of two groups of cross-attention layers: the two-end layers, which are about appearance, and the
intermediate ones, about shapes and poses; it names layers 7 to 9 of 16 among the latter and no border. Here the two
ends are the layers at the latents' own resolution, before the first downsampling and after the last upsampling (1, 2
and 14 to 16 of the paper's model), and all others, which see the clip coarser, are intermediate.
Source: DynamiCrafter, arXiv:2310.12190, section 3.2 and its figure on the learned lambda.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.attention import KeysValues, LearnedScale
from models.dynamicrafter import DynamiCrafter
from models.unet import VideoUNet

GROUPS = ("ends", "middle")


class FactorScale(LearnedScale):
    """A stream whose learned lambda is multiplied by a fixed factor."""

    factor: float

    @staticmethod
    def of(stream: LearnedScale, factor: float) -> FactorScale:
        """`stream` with its own parameters and `factor` on its lambda."""
        context_dim, channels = stream.to_k.in_features, stream.to_k.out_features
        made = FactorScale(channels, context_dim, stream.head_channels)
        made.to_k, made.to_v, made.alpha, made.factor = stream.to_k, stream.to_v, stream.alpha, factor
        return made.train(stream.training)

    def scale(self) -> float:
        """lambda times the factor."""
        return super().scale() * self.factor

    def project(self, context: Tensor) -> KeysValues:
        """(B, F, L, D) -> keys, and values times lambda and the factor, each (B, F, heads, L, d)."""
        keys, values = super().project(context)
        return KeysValues(keys, values * self.factor)


def lambda_groups(unet: VideoUNet) -> dict[str, tuple[str, ...]]:
    """Names of the cross-attention layers of each group, in the order in which they run."""
    first = next((k for k, stage in enumerate(unet.down) if hasattr(stage, "downsample")), len(unet.down))
    last = max((k for k, stage in enumerate(unet.up) if hasattr(stage, "upsample")), default=-1)
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in unet.cross_attentions():
        half, number = name.split(".")[:2]
        end = (half == "down" and int(number) < first) or (half == "up" and int(number) > last)
        groups["ends" if end else "middle"].append(name)
    return {group: tuple(names) for group, names in groups.items()}


def scale_lambda(model: DynamiCrafter, factors: Mapping[str, float]) -> DynamiCrafter:
    """The model itself, changed: lambda of every layer of a group is what was learned times the group's factor.

    factors: {group: factor >= 0}; a group without one keeps its lambda. Raises ValueError for an unknown group, a
    negative factor, and a layer whose lambda is not learned.
    """
    unknown = [group for group in factors if group not in GROUPS]
    if unknown:
        raise ValueError(f"lambda is scaled in {', '.join(map(repr, unknown))}; known: {', '.join(GROUPS)}")
    layers, groups = model.unet.cross_attentions(), lambda_groups(model.unet)
    for group, factor in factors.items():
        if not factor >= 0:
            raise ValueError(f"the factor on lambda in {group} is {factor}; allowed: 0 or more")
        for name in groups[group]:
            stream = dict(layers[name].streams.items()).get("image")
            if not isinstance(stream, LearnedScale):
                raise ValueError(f"layer {name} has no learned lambda to scale")
            layers[name].streams["image"] = FactorScale.of(stream, factor)
    return model
