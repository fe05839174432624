"""What would other public code print for the same videos? One protocol per implementation of FVD.

A dialect takes over how an implementation reads, resizes, normalises and computes; which videos and frames, and how
they were sampled, stays what the profile says, so that two dialects differ by nothing else. What an implementation does
before it has bytes (file formats, which clips it picks) is not repeated: the same frames go into all of them.
PIC is in none of them, KVD in TATS and LVDM alone.
Source: the repositories that the words name, read in public; arithmetic checked against numbers which that code printed
(tests/bench/metrics/test_roots_and_averages.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.protocols.fields import Builder, Field, Given, Profile, authors, ours, profile_clips
from bench.protocols.measures import measured

SAME = "the same videos as under any other protocol"
TRUNCATED = "levels 1 to 63 fall by one"
CUBIC = {"degree": 3, "gamma": "1/D", "coef0": 1}
ROOT_WORDS = {
    "sqrtm": "scipy's matrix root of S1 S2, real part, float64; up to 0.01 low where N <= D",
    "svd": "two SVDs, float64, the answer rounded to float32",
    "float32 svd": "two SVDs in float32: 5 % and more off, in either direction, and not 0 for equal sets",
}
INTERVALS = {
    "sqrtm": "jackknife over videos of the stable form, which this equals but for rounding, 95 %",
    "svd": "jackknife over videos of the stable form, which this equals but for rounding, 95 %",
    "float32 svd": "jackknife over videos of the stable form, 95 %, moved by what single precision adds to it; how "
    "rounding would fall for other videos is not covered",
}


@dataclass(frozen=True)
class Dialect:
    """One implementation.

    code: where it was read; eps, shown, reference_bytes: as the fields of these names; ddof 1: divisor N - 1;
    kvd: name of the estimator, None where the code has none; guess: what of it was not seen, in words.
    """

    description: str
    code: str
    shown: str
    eps: float
    root: str
    ddof: int
    required: int
    required_words: str
    reference_bytes: str = "as they are"
    kvd: str | None = None
    kvd_words: str = "this code has no kernel distance"
    kvd_scale: int = 1
    kvd_theirs: bool = False
    eps_guess: str = ""
    shown_guess: str = ""

    def fields(self, profile: Profile, given: Given | None) -> tuple[Field, ...]:
        """All choices."""
        return (*profile_clips(profile, SAME), *self._seen(given), *self._scored())

    def _seen(self, given: Given | None) -> tuple[Field, ...]:
        guesses = {"feature_eps": self.eps_guess, "feature_input": self.shown_guess}
        wanted = {"feature": "i3d-k400", "pic_distance": None, "alignment": None}
        fields = measured(wanted, given, eps=self.eps, shown=self.shown, whose=self.code)
        guessed = [
            ours(one.field, one.value, f"{one.words}; {guesses[one.field]}")
            if guesses.get(one.field) and one.value is not None
            else one
            for one in fields
        ]
        words = "real clips go to floats and back, cut off; generated ones were bytes" if self._truncates else self.code
        return (*guessed, authors("reference_bytes", self.reference_bytes, words))

    @property
    def _truncates(self) -> bool:
        return self.reference_bytes == TRUNCATED

    def _scored(self) -> tuple[Field, ...]:
        kvd = authors if self.kvd_theirs or self.kvd is None else ours
        return (
            ours(
                "required_count", self.required, f"{self.required_words}; fewer: scored, and marked as not comparable"
            ),
            authors("covariance_divisor", "N - 1" if self.ddof else "N", self.code),
            authors("covariance_root", self.root, f"{ROOT_WORDS[self.root]}; {self.code}"),
            kvd("kvd_estimator", self.kvd, self.kvd_words),
            kvd(
                "kvd_kernel", CUBIC if self.kvd else None, "(gamma x.y + coef0)^degree" if self.kvd else self.kvd_words
            ),
            kvd("kvd_scale", self.kvd_scale if self.kvd else None, "what the estimate is multiplied by"),
            ours("pic_formula", None, "this code has no PIC"),
            ours("pic_first_frame", None, "this code has no PIC"),
            ours("interval", INTERVALS[self.root], "a generated clip is left out with its real one"),
            ours("resampling_unit", "group, else video", "UCF-101's clips of one group were filmed together"),
        )


DIALECTS: dict[str, Dialect] = {
    "stylegan-v/v1": Dialect(
        description="StyleGAN-V's fvd2048_16f: covariance with divisor N, scipy's root",
        code="universome/stylegan-v, src/metrics",
        shown="direct_trilinear_5d",
        eps=1e-3,
        root="sqrtm",
        ddof=0,
        required=2048,
        required_words="as its fvd2048",
        kvd="100 subsets of 1000, float32",
        kvd_words="its KID, which it has for images alone, on these features; the draw of subsets is seeded by 0 and "
        "not covered by the interval, which is that of the estimate from all samples",
        kvd_scale=1000,
        eps_guess="of the public layout that its archive is derived from; the archive itself was not seen",
        shown_guess="what its archive does inside with resize=True was not seen; trilinear and bilinear differ by 3e-7",
    ),
    "videogpt/v1": Dialect(
        description="VideoGPT as first released: clips in [-0.5, 0.5], roots in single precision",
        code="wilson1yan/VideoGPT, videogpt/fvd and scripts/compute_fvd.py",
        shown="shortside_crop_videogpt_half_range",
        eps=1e-5,
        root="float32 svd",
        ddof=1,
        required=256,
        required_words="as in each of its trials",
        reference_bytes=TRUNCATED,
    ),
    "tats/v1": Dialect(
        description="TATS: squashed frames, roots and kernels in single precision",
        code="songweige/TATS, tats/fvd/fvd.py and scripts",
        shown="direct_bilinear",
        eps=1e-5,
        root="float32 svd",
        ddof=1,
        required=2048,
        required_words="as its FVD_SAMPLE_SIZE",
        reference_bytes=TRUNCATED,
        kvd="unbiased, float32",
        kvd_words="all samples, scikit-learn's kernel",
        kvd_theirs=True,
        eps_guess="its own network file was not seen: that of cd-fvd, by the same author, has this",
    ),
    "lvdm/v1": Dialect(
        description="LVDM, whose lab DynamiCrafter is from: FVD and KVD printed side by side, in single precision",
        code="YingqingHe/LVDM, scripts/eval_cal_fvd_kvd.py and scripts/fvd_utils",
        shown="direct_bilinear",
        eps=1e-5,
        root="float32 svd",
        ddof=1,
        required=2048,
        required_words="as its n_sample",
        reference_bytes=TRUNCATED,
        kvd="unbiased, float32",
        kvd_words="all samples, scikit-learn's kernel",
        kvd_theirs=True,
    ),
    "cd-fvd/v1": Dialect(
        description="cd-fvd with its I3D: squashed frames, covariance with divisor N, scipy's root",
        code="songweige/content-debiased-fvd, cdfvd/fvd.py, utils and third_party/i3d",
        shown="direct_bilinear",
        eps=1e-5,
        root="sqrtm",
        ddof=0,
        required=2048,
        required_words="as its n_fake, without its repeating of videos",
    ),
    "tfgan/v1": Dialect(
        description="The original FVD: TensorFlow 1's resize, TF-GAN's root",
        code="google-research/frechet_video_distance, tensorflow_gan classifier_metrics",
        shown="tf1_legacy_bilinear",
        eps=1e-3,
        root="svd",
        ddof=1,
        required=2048,
        required_words="it asks for none; as our own",
        kvd="blocks of 1024, float32",
        kvd_words="TF-GAN's KID (the code of FVD has none): consecutive blocks, in the order of the videos",
    ),
    "common-metrics/v1": Dialect(
        description="common_metrics_on_video_quality, its method styleganv: centre crop, divisor N - 1, scipy's root",
        code="JunyaoHu/common_metrics_on_video_quality, fvd/styleganv",
        shown="shortside_crop_float",
        eps=1e-3,
        root="sqrtm",
        ddof=1,
        required=256,
        required_words="its maintainers advise at least so many",
        eps_guess="of the public layout that its archive is derived from; the archive itself was not seen",
    ),
    "common-metrics-videogpt/v1": Dialect(
        description="common_metrics_on_video_quality, its method videogpt: centre crop, roots in single precision",
        code="JunyaoHu/common_metrics_on_video_quality, fvd/videogpt",
        shown="shortside_crop_cmvq_videogpt_trunc",
        eps=1e-5,
        root="float32 svd",
        ddof=1,
        required=256,
        required_words="its maintainers advise at least so many",
    ),
}


def builders() -> dict[str, tuple[str, Builder]]:
    """{name: (description, builder)} of all dialects."""
    return {name: (dialect.description, dialect.fields) for name, dialect in DIALECTS.items()}
