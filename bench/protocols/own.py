"""How does a run score that follows no published evaluation? Shaped like the paper's, sizes from the profile."""

from __future__ import annotations

from bench.protocols.fields import Field, Given, Profile, ours, profile_clips
from bench.protocols.measures import PAPER, measured, scores

TINY_REQUIRED = 192  # FVD falls with the number of videos: fewer than this are not compared
REQUIRED = 2048
TINY = {"feature": "tiny-i3d", "pic_distance": "tiny-perceptual", "alignment": "tiny-clip"}


def tiny(profile: Profile, given: Given | None) -> tuple[Field, ...]:
    """The tiny world's evaluation, by its own small networks."""
    return (
        *profile_clips(profile),
        *measured(TINY, given, shown="as_made"),
        ours("required_count", TINY_REQUIRED, "fewer: scored, and marked as not comparable"),
        *scores(),
    )


def profile(one: Profile, given: Given | None) -> tuple[Field, ...]:
    """Real clips of any size and length, by the networks of the paper's evaluation."""
    return (
        *profile_clips(one),
        *measured(PAPER, given, eps=1e-3, shown="direct_bilinear"),
        ours("required_count", REQUIRED, "as the authors; fewer: scored, and marked as not comparable"),
        *scores(),
    )
