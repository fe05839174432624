"""Which networks look at the clips, what are they shown, and how do their answers become numbers?

A protocol asks for networks by name. One that is not at hand is stood in for by a small one of the tiny world, which is
said in the field itself (so the hash differs), in `stand_ins`, and in every record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.protocols.fields import Field, Given, authors, ours

PAPER = {"feature": "i3d-k400", "pic_distance": "dreamsim", "alignment": "openclip-vit-h-14"}
ROLES = {  # network: the role of its weights
    "i3d-k400": "i3d",
    "tiny-i3d": "classifier",
    "dreamsim": "dreamsim",
    "tiny-perceptual": "perceptual",
    **dict.fromkeys(("lpips-alex", "lpips-vgg", "lpips-squeeze"), "lpips"),
    **dict.fromkeys(("openclip-vit-h-14", "tiny-clip"), "clip"),
}
STAND_INS = {"i3d-k400": "tiny-i3d", "dreamsim": "tiny-perceptual"}
ASK = {"i3d-k400": "--weights i3d=FILE", "dreamsim": "--weights dreamsim=DIR"}  # what gives a network
BEYOND = ("motion", "consistency", "alignment")
CLIPS = ("openclip-vit-h-14", "tiny-clip")  # pairs of encoders that agree on images and words
LPIPS = ("lpips-alex", "lpips-vgg", "lpips-squeeze")
SHOWN = {  # names in bench/metrics/preprocess.py, and what they do
    "direct_bilinear": "squashed to {side}, bilinear, no antialiasing, [-1, 1]",
    "shortside_crop_float": "shorter side to {side}, bilinear, no antialiasing, centre crop, [-1, 1]",
    "shortside_crop_cmvq_videogpt_trunc": "shorter side to {side}, bilinear, no antialiasing, centre crop, [-1, 1]",
    "shortside_crop_videogpt_half_range": "shorter side to {side}, bilinear, no antialiasing, crop, [-0.5, 0.5]",
    "direct_trilinear_5d": "squashed to {side} as a volume, trilinear, no antialiasing, [-1, 1]",
    "tf1_legacy_bilinear": "squashed to {side}, bilinear on TensorFlow 1's grid, [-1, 1]",
    "as_made": "no resize where clips are 32 x 32 and 8 frames long, [-1, 1]; else antialiased to that, frames spread",
}
LOGITS = "400 logits of I3D (Kinetics), mean over time, before the softmax"
SMALL = "64 features of a small video classifier; says nothing of I3D's scale"
DIVISORS = {1: "N - 1", 0: "N"}


def video(
    wanted: str, given: Given | None, eps: float = 1e-3, shown: str = "direct_bilinear", whose: str = ""
) -> tuple[Field, ...]:
    """The video network and what it is shown; `whose` names the code that the choices are taken from, if any."""
    said = authors if whose else ours
    used = wanted if given is None or wanted in given else STAND_INS.get(wanted, wanted)
    by = f"; {whose}" if whose else ""
    if used == "tiny-i3d":
        side, asked = "32 x 32", "" if wanted == used else f"stands in for {wanted}, which is not at hand; "
        frames = "8, spread evenly over the clip"
        return (
            ours("feature", used, f"{asked}{SMALL}"),
            ours("feature_layout", None, "one layout"),
            ours("feature_eps", None, "it has no batch norm"),
            ours("feature_frames", frames, "all of them, where clips have 8"),
            said("feature_input", shown, SHOWN[shown].format(side=side) + by),
        )
    return (
        ours("feature", used, LOGITS) if not whose else authors("feature", used, f"{LOGITS}{by}"),
        ours("feature_layout", "either public layout, told from the file", "equal to 1e-6 at equal batch-norm eps"),
        said("feature_eps", eps, f"batch norm; TensorFlow has 1e-3, several ports 1e-5{by}"),
        ours("feature_frames", "all", "I3D needs 9 or more; of 16 it makes one time step"),
        said("feature_input", shown, SHOWN[shown].format(side="224 x 224") + by),
    )


def image(wanted: str | None, given: Given | None) -> tuple[Field, ...]:
    """The distance behind PIC. Of LPIPS and DreamSim the one that the protocol asks for wins, then what is there."""
    if wanted is None:
        return (ours("pic_distance", None, "this code has no PIC"),)
    used = wanted if given is None or wanted in given else _next_best(wanted, given)
    if used == "dreamsim":
        words = "the paper; ours: ensemble, 224 x 224 bicubic, weights by sha256"
        return (authors("pic_distance", used, words),)
    if used in LPIPS:
        return (ours("pic_distance", used, f"stands in for {wanted}: version 0.1, at the clips' own size"),)
    asked = "" if wanted == used else f"stands in for {wanted}, which is not at hand; "
    words = f"{asked}one minus the cosine of small embeddings; says nothing of DreamSim's scale"
    return (ours("pic_distance", used, words),)


def _next_best(wanted: str, given: Given) -> str:
    return next((name for name in LPIPS if name in given), STAND_INS.get(wanted, wanted))


def beyond(wanted: str | None, given: Given | None) -> tuple[Field, ...]:
    """What is measured apart, in the same pass; `wanted`: the pair of encoders behind it, None: nothing is measured."""
    if wanted is None:
        return tuple(ours(name, None, "scored under our own protocols") for name in BEYOND)
    there = [wanted] if given is None or wanted in given else [name for name in CLIPS if name in given]
    used = there[0] if there else None
    lacking = "" if there else f"; not measured: {wanted} is not at hand (--weights clip=FILE)"
    speed = (
        "speed in % of the diagonal per frame, flicker aside; neither more nor less is better: compare with the real"
    )
    return (
        ours("motion", "optical-flow", f"{speed} clips'. bench/metrics/motion.py"),
        ours("consistency", used, f"mean cosine of neighbouring frames' CLIP embeddings, 1 for a still clip{lacking}"),
        ours("alignment", used, f"100 times the mean cosine of frames and prompt under CLIP{lacking}"),
    )


def measured(wanted: Mapping[str, str | None], given: Given | None, **choices: Any) -> tuple[Field, ...]:
    """All networks, and which of `wanted` {feature, pic_distance, alignment: network} another one stands in for."""
    assert wanted["feature"] is not None, "every protocol has a video network"
    fields = (
        *video(wanted["feature"], given, **choices),
        *image(wanted["pic_distance"], given),
        *beyond(wanted["alignment"], given),
    )
    used = {one.field: one.value for one in fields}
    absent = {field: name for field, name in wanted.items() if used[field] not in (name, None)}
    words = "networks asked for and not at hand: numbers that others gave in their place are not comparable"
    return (*fields, ours("stand_ins", absent, words))


def scores() -> tuple[Field, ...]:
    """From features to numbers: the same in every protocol of ours."""
    kernel = {"degree": 3, "gamma": "1/D", "coef0": 1}
    return (
        ours("reference_bytes", "as they are", "some public code rounds real clips down on their way"),
        ours("covariance_divisor", "N - 1", "as the original TF code; StyleGAN-V and cd-fvd divide by N"),
        ours("covariance_root", "nuclear norm", "float64, exact when N <= D; float32 roots in public code err by 5 %"),
        ours("kvd_estimator", "unbiased", "all samples, i = j left out within a set, negative values kept, unscaled"),
        ours("kvd_kernel", kernel, "(gamma x.y + coef0)^degree, as the public code of TATS and LVDM"),
        ours("kvd_scale", 1, "only NVIDIA's KID multiplies, by 1000"),
        authors("pic_formula", "mean over frames of 1 - D(input, frame), then over videos", "the paper's definition"),
        ours(
            "pic_first_frame", "counts", "the paper's sum is over all frames; whether it means frame 0 too is not said"
        ),
        ours(
            "interval",
            "jackknife over videos, 95 %",
            "a generated clip is left out with its real one; see docs/statistics.md",
        ),
        ours("resampling_unit", "group, else video", "UCF-101's clips of one group were filmed together"),
    )
