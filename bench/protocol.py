"""What stands between a model and a number? Every choice, by name, with who made it: the authors in public,
or us.

A protocol is a list of fields; its hash covers the name and all values, so two numbers with equal hashes were
made by the same rules. Names carry a version and never change their meaning. The words say why, and where the
authors said so (Doubiiu/DynamiCrafter#6 and #10 on GitHub, and the paper, arXiv:2310.12190).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from bench.fingerprint import digest
from bench.metrics.kernel import Polynomial
from bench.metrics.uncertainty import Settings

Origin = Literal["authors", "ours"]
Profile = Mapping[str, Any]  # a profile as JSON: clip, sampling, evaluation, samples, seeds, ...

REPOSITORY = "Doubiiu/DynamiCrafter"  # on GitHub: where the authors answered
TINY_REQUIRED = 192  # FVD falls with the number of videos: fewer than this are not compared
NETWORKS = {"feature": "tiny-i3d", "pic_distance": "tiny-perceptual"}  # what bench/steps/features.py runs


@dataclass(frozen=True)
class Field:
    """One choice: its value (JSON), who made it, and what a reader should know."""

    field: str
    value: Any
    origin: Origin
    words: str


@dataclass(frozen=True)
class Protocol:
    """A named, versioned list of choices."""

    name: str
    description: str
    choices: tuple[Field, ...]

    def fields(self) -> list[dict[str, Any]]:
        """As spec.json lists them: [{field, value, origin, words}]."""
        return [{"field": c.field, "value": c.value, "origin": c.origin, "words": c.words} for c in self.choices]

    @property
    def values(self) -> dict[str, Any]:
        """Value of each field."""
        return {choice.field: choice.value for choice in self.choices}

    @property
    def hash(self) -> str:
        """sha256 (hex) of the name and the values."""
        return digest({"name": self.name, "values": self.values})

    @property
    def config(self) -> dict[str, Any]:
        """What scoring steps find under config["protocol"]: name, hash and values, no words."""
        return {"name": self.name, "hash": self.hash, "values": self.values}


@dataclass(frozen=True)
class Scoring:
    """The part of a protocol that turns features into numbers, read back from a step's config."""

    name: str
    required: int  # videos, fewer are not comparable
    video_network: str
    image_network: str
    settings: Settings

    @staticmethod
    def read(config: Mapping[str, Any]) -> Scoring:
        """From `Protocol.config`. Raises ValueError naming what is missing or unknown."""
        name, values = config.get("name", "without a name"), config.get("values")
        if not isinstance(values, Mapping):
            raise ValueError(f"protocol {name}: its values are missing; wanted what Protocol.config gives")

        def pick(field: str, known: Mapping[Any, Any]) -> Any:
            key = values.get(field)
            if key not in known:
                raise ValueError(f"protocol {name}: {field} is {key!r}; known: {', '.join(map(str, known))}")
            return known[key]

        pick("kvd_estimator", {"unbiased": None})
        pick("covariance_root", {"nuclear norm": None})
        kernel = values["kvd_kernel"]
        return Scoring(
            name=str(name),
            required=int(values["required_count"]),
            video_network=str(values["feature"]),
            image_network=str(values["pic_distance"]),
            settings=Settings(
                ddof=pick("covariance_divisor", {"N - 1": 1, "N": 0}),
                kernel=Polynomial(
                    int(kernel["degree"]),
                    None if kernel["gamma"] == "1/D" else float(kernel["gamma"]),
                    float(kernel["coef0"]),
                ),
                count_first_frame=pick("pic_first_frame", {"counts": True, "does not count": False}),
            ),
        )


@dataclass(frozen=True)
class Named:
    """A protocol that can be asked for by name; `build` fills in what a profile decides."""

    description: str
    build: Callable[[Profile], tuple[Field, ...]]
    needs_profile: bool = False


def resolve(name: str, profile: Profile | None = None) -> Protocol:
    """The protocol of that name. Raises ValueError for an unknown name, or when a profile is needed."""
    if name not in PROTOCOLS:
        near = get_close_matches(name, PROTOCOLS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"protocol is {name!r}. Known: {', '.join(PROTOCOLS)}.{hint}")
    named = PROTOCOLS[name]
    if named.needs_profile and profile is None:
        raise ValueError(f"protocol {name}: sizes and sampler come from a profile, and none was given")
    return Protocol(name, named.description, named.build(profile or {}))


def check_measurable(protocol: Protocol) -> None:
    """Raises ValueError when the protocol measures with networks other than those of the step `features`."""
    values = protocol.values
    absent = [f"{field} {values[field]!r}" for field in NETWORKS if values[field] != NETWORKS[field]]
    if absent:
        raise ValueError(
            f"protocol {protocol.name} cannot be scored: its networks are not part of this version "
            f"({', '.join(absent)}; there are {', '.join(NETWORKS.values())})"
        )


def to_json(protocol: Protocol) -> str:
    """One protocol as a JSON text: name, hash, description and fields with their words."""
    told = {"name": protocol.name, "hash": protocol.hash, "description": protocol.description}
    return json.dumps({**told, "fields": protocol.fields()}, indent=1, ensure_ascii=False)


def _ours(field: str, value: Any, words: str) -> Field:
    return Field(field, value, "ours", words)


def _authors(field: str, value: Any, words: str) -> Field:
    return Field(field, value, "authors", words)


def _scores() -> tuple[Field, ...]:
    """From features to numbers: the same in every protocol of ours."""
    kernel = {"degree": 3, "gamma": "1/D", "coef0": 1}
    return (
        _ours("covariance_divisor", "N - 1", "as the original TF code; StyleGAN-V and cd-fvd divide by N"),
        _ours(
            "covariance_root",
            "nuclear norm",
            "float64, exact when N <= D; float32 roots in public code err by 5 %",
        ),
        _ours(
            "kvd_estimator",
            "unbiased",
            "all samples, i = j left out within a set, negative values kept, unscaled",
        ),
        _ours("kvd_kernel", kernel, "(gamma x.y + coef0)^degree, as the public code of TATS and LVDM"),
        _authors(
            "pic_formula",
            "mean over frames of 1 - D(input, frame), then over videos",
            "the paper's definition",
        ),
        _ours(
            "pic_first_frame",
            "counts",
            "the paper's sum is over all frames; whether it means frame 0 too is not said",
        ),
        _ours(
            "interval",
            "jackknife over videos, 95 %",
            "a generated clip is left out with its real one; see docs/statistics.md",
        ),
        _ours("resampling_unit", "group, else video", "UCF-101's clips of one group were filmed together"),
    )


def _dynamicrafter_256(_profile: Profile) -> tuple[Field, ...]:
    return (*_dynamicrafter_256_clips(), *_dynamicrafter_256_measures(), *_scores())


def _dynamicrafter_256_clips() -> tuple[Field, ...]:
    """Which videos, which frames of them, and how a clip is sampled."""
    prompts = {"ucf101": "class name in words", "msrvtt": "first caption"}
    return (
        _authors("datasets", ["ucf101", "msrvtt"], "zero-shot: neither was trained on"),
        _ours("split", "test", "videos of the test split; all of them where no split list is given"),
        _authors(
            "videos",
            "2048 at random",
            f"{REPOSITORY}#10; which ones was not said: ours are the first of a seeded order, stored",
        ),
        _authors("clips_per_video", 1, f"{REPOSITORY}#6"),
        _authors("frames", 16, f"{REPOSITORY}#6"),
        _authors("frame_stride", 3, f"{REPOSITORY}#6 and #10: of the real clips and of the condition"),
        _authors(
            "start",
            "random",
            f"{REPOSITORY}#6: a random 16-frame clip; ours is drawn from (seed, data set, video id)",
        ),
        _ours(
            "too_short",
            "set aside",
            "videos of fewer than 46 frames are named and counted, the next takes their place",
        ),
        _authors("size", [256, 256], "height, width of the 256 model"),
        _ours(
            "resize",
            "shorter side to size, antialiased, then centre crop",
            "the authors' preprocessing is not published",
        ),
        _authors("condition_frame", "first frame of the real clip", f"{REPOSITORY}#6 and #10"),
        _authors(
            "reference",
            "the same videos",
            f"{REPOSITORY}#6 and #10: the real clips from which the condition frames come",
        ),
        _ours("prompts", prompts, "which of 20 captions was used was not said"),
        _ours("sampler", "ddim", "as in the released script"),
        _ours("sampler_steps", 50, "as in the released script; the evaluation's were not said"),
        _ours("sampler_eta", 1.0, "as in the released script"),
        _ours(
            "guidance",
            {"kind": "single", "text_scale": 7.5, "image_scale": None, "rescale": 0.0},
            "as in the released script",
        ),
        _ours(
            "rate_condition",
            {"kind": "frame_stride", "value": 3},
            "the 256 model takes a stride, the others take frames per second",
        ),
        _ours("noise_seed", "(seed, data set, video id)", "one generator per video: the batch changes nothing"),
        _ours(
            "scored_frames",
            "all 16, uint8, never compressed",
            "a codec on one side alone would be scored with the model",
        ),
    )


def _dynamicrafter_256_measures() -> tuple[Field, ...]:
    """The networks behind the scores, what they are shown, and how many videos it takes."""
    return (
        _ours("feature", "i3d-k400", "400 logits of I3D (Kinetics), mean over time, before the softmax"),
        _ours(
            "feature_layout",
            "either public layout, told from the file",
            "equal to 1e-6 at equal batch-norm eps",
        ),
        _ours("feature_eps", 1e-3, "batch norm, as the TF graph; LVDM and cd-fvd have 1e-5"),
        _ours("feature_input", "squashed to 224 x 224, bilinear, not antialiased, [-1, 1]", "as TATS and LVDM"),
        _authors("pic_distance", "dreamsim", "the paper; ours: ensemble, 224 x 224 bicubic, weights by sha256"),
        _authors("required_count", 2048, "fewer: scored, and marked as not comparable"),
    )


def _tiny(profile: Profile) -> tuple[Field, ...]:
    clip, sampling, sets = profile["clip"], profile["sampling"], profile["evaluation"]
    scales = {"kind": sampling["guidance"], "text_scale": sampling["text_scale"]}
    scales |= {"image_scale": sampling["image_scale"], "rescale": sampling["guidance_rescale"]}

    def each(key: str) -> dict[str, Any]:
        return {name: sets[name][key] for name in ("ucf101", "msrvtt")}

    return (
        _ours(
            "datasets",
            ["ucf101", "msrvtt"],
            "procedural videos in the folder layouts of the two, or the user's own",
        ),
        _ours("split", each("split"), "null: all clips"),
        _ours("videos", "the first of a seeded order", "stored with the clips"),
        _ours("selection_seed", each("seed"), "of that order and of the starts"),
        _ours("clips_per_video", 1, "as the authors"),
        _ours("frames", clip["frames"], "what the small model makes; 16 in the paper"),
        _ours("frame_stride", clip["frame_stride"], "as the authors, where it is 3"),
        _ours("start", each("start"), "random: drawn from (seed, data set, video id)"),
        _ours("too_short", each("too_short"), "named and counted"),
        _ours("size", [clip["height"], clip["width"]], "height, width"),
        _ours("resize", "shorter side to size, antialiased, then centre crop", "as at full size"),
        _ours("condition_frame", "first frame of the real clip", "as the authors"),
        _ours("reference", "the same videos", "as the authors"),
        _ours("prompts", each("caption"), "class_name: in words; first: the first caption"),
        _ours("sampler", "ddim", "as at full size"),
        _ours("sampler_steps", sampling["steps"], "from the profile"),
        _ours("sampler_spacing", sampling["spacing"], "which timesteps"),
        _ours("sampler_eta", sampling["eta"], "from the profile"),
        _ours("guidance", scales, "fixed on the full model, before any ablation was looked at"),
        _ours(
            "rate_condition",
            {"kind": "frame_stride", "value": clip["frame_stride"]},
            "the model is told the stride",
        ),
        _ours("noise_seed", "(seed, data set, video id)", "one generator per video: the batch changes nothing"),
        _ours("scored_frames", f"all {clip['frames']}, uint8, never compressed", "previews are not scored"),
        _ours(
            "feature",
            profile["features"],
            "64 features of a small video classifier; says nothing of I3D's scale",
        ),
        _ours("feature_input", "as made, [-1, 1]", "no resize"),
        _ours(
            "pic_distance",
            "tiny-perceptual",
            "one minus the cosine of small embeddings; says nothing of DreamSim's scale",
        ),
        _ours("required_count", TINY_REQUIRED, "fewer: scored, and marked as not comparable"),
        *_scores(),
    )


PROTOCOLS: dict[str, Named] = {
    "dynamicrafter-256/v1": Named(
        "The paper's evaluation at 256 x 256, as far as it was told: 2048 videos, 16 frames at stride 3",
        _dynamicrafter_256,
    ),
    "tiny/v1": Named("The tiny world's evaluation, shaped like the paper's; sizes from the profile", _tiny, True),
}
