"""How was DynamiCrafter evaluated? The paper's protocol as far as it was told, and the same at the released sizes.

Source: arXiv:2310.12190, and the authors' answers in Doubiiu/DynamiCrafter#6 and #10 on GitHub.
"""

from __future__ import annotations

from bench.protocols.fields import DIRECT, Builder, Field, Given, Profile, authors, changed, ours, outside_videos
from bench.protocols.measures import PAPER, measured, scores

REPOSITORY = "Doubiiu/DynamiCrafter"  # on GitHub: where the authors answered
SIZES = {"512": (320, 512), "1024": (576, 1024), "512-interp": (320, 512)}
UNPUBLISHED = "as the authors' evaluation at 256; none was published at this size"


def dynamicrafter_256(_profile: Profile, given: Given | None) -> tuple[Field, ...]:
    """Everything at 256 x 256."""
    return (*_clips(), *_measures(given))


def dynamicrafter(size: str) -> tuple[str, Builder]:
    """(description, builder) of the same evaluation at another released size."""
    height, width = SIZES[size]

    def build(profile: Profile, given: Given | None) -> tuple[Field, ...]:
        return changed(dynamicrafter_256(profile, given), *_at(size))

    kind = ", first and last frame given" if size == "512-interp" else ""
    return f"The paper's evaluation at {height} x {width}{kind}: ours after the one at 256, none was published", build


def _at(size: str) -> tuple[Field, ...]:
    """What differs from 256."""
    rate = {"kind": "fps", "value": "floor(source fps / stride)"}
    guidance = {"kind": "single", "text_scale": 7.5, "image_scale": None, "rescale": 0.7}
    fields = [
        ours("videos", "2048 at random", UNPUBLISHED),
        ours("clips_per_video", 1, UNPUBLISHED),
        ours("frames", 16, UNPUBLISHED),
        ours("frame_stride", 3, UNPUBLISHED),
        ours("start", "random", UNPUBLISHED),
        ours("condition_frame", "first frame of the real clip", UNPUBLISHED),
        ours("reference", "the same videos", UNPUBLISHED),
        ours("required_count", 2048, f"{UNPUBLISHED}; fewer: scored, and marked as not comparable"),
        authors("size", list(SIZES[size]), "height, width of the released model"),
        ours("sampler_spacing", "uniform_trailing", "as in the released script; exactly 50 steps"),
        ours("guidance", guidance, "as in the released script"),
        ours(
            "rate_condition",
            rate,
            "the official training loader's rule; one public thread measured FVD 434.6 with the number 3 and 288.0 "
            "with 8 = 25 / 3 for the same checkpoint, thu-ml/cond-image-leakage#11",
        ),
    ]
    if size == "512-interp":
        fields.append(ours("condition_frame", "first and last frame of the real clip", "what the released model takes"))
    return tuple(fields)


def _clips() -> tuple[Field, ...]:
    """Which videos, which frames of them, and how a clip is sampled."""
    prompts = {"ucf101": "class name in words", "msrvtt": "first caption"}
    guidance = {"kind": "single", "text_scale": 7.5, "image_scale": None, "rescale": 0.0}
    return (
        authors("datasets", ["ucf101", "msrvtt"], "zero-shot: neither was trained on"),
        ours("split", "test", "videos of the test split; all of them where no split list is given"),
        authors(
            "videos",
            "2048 at random",
            f"{REPOSITORY}#10; which ones was not said: ours are the first of a seeded order, stored",
        ),
        authors("clips_per_video", 1, f"{REPOSITORY}#6"),
        authors("frames", 16, f"{REPOSITORY}#6"),
        authors("frame_stride", 3, f"{REPOSITORY}#6 and #10: of the real clips and of the condition"),
        authors(
            "start", "random", f"{REPOSITORY}#6: a random 16-frame clip; ours is drawn from (seed, data set, video id)"
        ),
        ours(
            "too_short", "set aside", "videos of fewer than 46 frames are named and counted, the next takes their place"
        ),
        authors("size", [256, 256], "height, width of the 256 model"),
        ours("resize", DIRECT, "the authors' preprocessing is not published"),
        authors("condition_frame", "first frame of the real clip", f"{REPOSITORY}#6 and #10"),
        authors(
            "reference",
            "the same videos",
            f"{REPOSITORY}#6 and #10: the real clips from which the condition frames come",
        ),
        ours("prompts", prompts, "which of 20 captions was used was not said"),
        ours("sampler", "ddim", "as in the released script"),
        ours("sampler_steps", 50, "as in the released script; the evaluation's were not said"),
        ours("sampler_spacing", "uniform", "as in the released script; exactly 50 steps"),
        ours("sampler_eta", 1.0, "as in the released script"),
        ours("guidance", guidance, "as in the released script"),
        ours(
            "rate_condition",
            {"kind": "frame_stride", "value": 3},
            "the 256 model takes a stride, the others take frames per second",
        ),
        ours("noise_seed", "(seed, data set, video id)", "one generator per video: the batch changes nothing"),
        ours(
            "scored_frames",
            "all 16, uint8, never compressed",
            "a codec on one side alone would be scored with the model",
        ),
        *outside_videos(16),
    )


def _measures(given: Given | None) -> tuple[Field, ...]:
    """The networks behind the scores, what they are shown, and how many videos it takes."""
    return (
        *measured(PAPER, given, eps=1e-3, shown="direct_bilinear"),
        authors("required_count", 2048, "fewer: scored, and marked as not comparable"),
        *scores(),
    )
