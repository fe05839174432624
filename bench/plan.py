"""Which steps answer the questions, and what each kind of step is given.

A step's fingerprint is the sha256 of the canonical JSON of kind, VERSION of the kind's module, config, inputs.
An input is the artifact of another step (a folder; its fingerprint) or a file (its sha256):
`work.inputs[role]` is a Path to a folder or to a file; `work.file(role, name)` is `folder/name` for a folder and
the file itself for a file. Keys marked (local) are merged into `work.config` at run time and are no part of
the fingerprint. Steps that run a network also get `machine` {device, threads, and on a GPU precision where it is not
float32}, which is: all change bits. A released checkpoint may stand for model, vae and clip at once (bench/parts.py).

world      config  every field of datasets.world.WorldConfig, and seed
clips      config  dataset "train" | "ucf101" | "msrvtt"; catalog "webvid" | "ucf101" | "msrvtt" | "folder";
                   split str | None; rule {every field of datasets.select.ClipRule, frame_stride int | [int]};
                   root: relative to inputs["world"] where there is one, else a folder of the user (local);
                   content: digest of the user's data set, None for the world
           inputs  world (absent for a user's folder); data (a placeholder: a set that is not given yet)
           Evaluation sets ask for count = 2 * samples: items[:samples] are the reference and give the
           conditions, items[samples:] are the disjoint second half, used by the baseline "real" alone.
encode     config  autoencoder {AutoencoderConfig}, clip {ClipConfig}, per_frame_encoding bool,
                   frame_rate "frame_stride" | "fps" (what `fs` tells the model),
                   count int | None (the first items; None: all), micro_batch int (frames or prompts at once),
                   fs int | "floor(fps / stride)" (absent: the clip's stride), tokens "first" (of each clip's first
                   frame alone: evaluation sets; absent: of every frame)
           inputs  clips, vae (file), clip (file)
train      config  model {ModelConfig of this very stage}, stage "i" | "ii" | "iii" | "i'",
                   images bool (one random frame of each clip, its own condition; model is then the
                   text-to-image half: frames 1, projector.frames 1),
                   groups [names of DynamiCrafter.parameter_groups() that are trained],
                   condition_frame "random" | "first" (with images: "random"), seed int, steps, batch,
                   micro_batch, learning_rate, warmup, final_rate, clip_norm, uncond_prob, log_every,
                   checkpoint_every (local)
           inputs  encoded (training set), parent (t2i or t2v file, or the artifact of the stage before),
                   trained (with a t2v parent: what stage i trained, an artifact or a file; only the groups
                   projector, image_stream and lambda are taken from it)
           A stage that ships as a file is no step: the file is `trained` or `parent` of the next.
sample     config  model {ModelConfig}, sampler {SamplerConfig}, dataset, seed int (the training seed, also of the
                   noise), batch int (local)
           inputs  model (last stage's artifact or file), clips, encoded (first `samples` items), vae (file)
baseline   config  baseline "real" | "reconstruction" | "static" | "another", count int (= samples), seed int;
                   reconstruction also autoencoder {AutoencoderConfig}, micro_batch
           inputs  clips; reconstruction also encoded (its mean latents) and vae (file)
           The baseline "text_to_video" is a `sample` step of the parent model, which sees no image.
           "real" is items[count:2 * count]; fewer than 2 of them: no clip, and a line in notes.json.
features   config  count int (the first items of `clips`; no effect on shorter ones), micro_batch int,
                   video {network "tiny-i3d" | "i3d-k400", input (how clips are shown to it: a name in
                   bench/metrics/preprocess.py, or "as_made"), eps float | None, bytes "as they are" | ...},
                   image "tiny-perceptual" | "lpips-<net>" | "dreamsim" | None (no PIC), motion bool,
                   clip {network, towers {ClipConfig}} | None (neither consistency nor alignment)
           inputs  clips (artifact of clips, sample or baseline: clips.safetensors or frames.safetensors),
                   conditions (clips whose frame 0 is the input image of the clip with the same id; with image),
                   the networks' weights: classifier | i3d, perceptual | lpips | dreamsim, clip
           items.json is copied from `clips`: ids and groups travel with the features. bench/measure.py makes it.
score      config  protocol {see ResolvedProtocol}, dataset, samples int (asked for),
                   comparison "generated" | "baseline", seed int | None
           inputs  generated (features), reference (features of the set's first `samples`; without it only what
                   compares with nothing)
aggregate  config  protocol, dataset, samples, seeds [int]
           inputs  reference, seed_0, seed_1, ... (features of the variant, `seed_<seed>`)
alike      config  count int (items of `reference` that count)
           inputs  generated (sample), reference (clips)
           For each variant, data set and seed; baselines are what they say. Clips that copy, repeat or do not move.
claims     config  protocol, dataset, question, samples, seeds [int],
                   claims [{claim, metric, better [variant, ...]}]
           inputs  reference, "<variant>.seed_<seed>" for each variant that a claim names and each seed
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.graph import File, Graph, Step
from bench.profile import Profile
from bench.sources import Sources
from bench.spec import Question
from bench.variants import Stage


@dataclass(frozen=True)
class Trained:
    """One stage of one variant and seed; `step` is None for a stage that ships as a file."""

    stage: Stage
    seed: int
    step: Step | None
    source: Step | File


@dataclass(frozen=True)
class Frozen:
    """Where the networks that nothing trains come from: files of their own, or a released checkpoint twice."""

    vae: File
    clip: File


@dataclass(frozen=True)
class Scored:
    """Clips of one variant (or baseline), dataset and seed, and what was made of them."""

    clips: Step
    features: Step
    score: Step
    look: Step | None = None  # at the clips themselves; baselines are what they say


@dataclass
class EvaluationSet:
    """One dataset: its clips, their features and its baselines."""

    clips: Step
    encoded: Step
    reference: Step
    baselines: dict[str, Scored] = field(default_factory=dict)


@dataclass(frozen=True)
class VariantPlan:
    """What one variant of a question comes to."""

    training: dict[int, tuple[Trained, ...]]  # by seed
    scored: dict[tuple[str, int], Scored]  # by (dataset, seed)
    aggregate: dict[str, Step]  # by dataset


@dataclass(frozen=True)
class ResolvedProtocol:
    """What the scoring steps are given, and its fields as a report lists them.

    Args:
        name: name and version, as in "tiny/v1".
        config: what scoring steps find under config["protocol"].
        fields: [{field, value, origin "authors" | "ours", words}].
    """

    name: str
    config: dict[str, Any]
    fields: list[dict[str, Any]]


@dataclass
class Plan:
    """The graph, and where in it the answers to the questions will be."""

    profile: Profile
    sources: Sources
    questions: list[Question]
    graph: Graph
    train_clips: Step | None  # None: nothing is trained
    evaluation: dict[str, EvaluationSet]
    protocol: ResolvedProtocol
    variants: dict[tuple[str, str], VariantPlan] = field(default_factory=dict)  # (question, variant)
    claims: dict[tuple[str, str], Step] = field(default_factory=dict)  # (question, dataset)
    notes: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)  # (question, variant): where it is from
