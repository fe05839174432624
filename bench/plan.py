"""Which steps answer the questions, and what each kind of step is given.

A step's fingerprint is the sha256 of the canonical JSON of kind, VERSION of the kind's module, config, inputs.
An input is the artifact of another step (a folder; its fingerprint) or a file (its sha256):
`work.inputs[role]` is a Path to a folder or to a file; `work.file(role, name)` is `folder/name` for a folder and
the file itself for a file. Keys marked (local) are merged into `work.config` at run time and are no part of
the fingerprint. Steps that run a network also get `machine` {device, threads, and on a GPU precision where it is not
float32, compile where sampling is}: all change bits. A released checkpoint may stand for model, vae and clip at once
(bench/parts.py).

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
captions   config  text "full" | "motion", least_dynamic float | None, undescribed float (share of captions that lose
                   their words of motion first), seed int, clip {ClipConfig}, micro_batch int
           inputs  encoded (training set), clip (file)
           For variants whose training clips are called otherwise: text.safetensors {text, rows}.
train      config  model {ModelConfig of this very stage}, stage "i" | "ii" | "iii" | "i'",
                   images bool (one random frame of each clip, its own condition; model is then the
                   text-to-image half: frames 1, projector.frames 1),
                   groups [names of DynamiCrafter.parameter_groups() that are trained],
                   condition_frame "random" | "first" (with images: "random"), seed int, steps, batch,
                   micro_batch, learning_rate, warmup, final_rate, clip_norm, uncond_prob, log_every,
                   checkpoint_every (local); where the profile says so: ema (decay of the average that is left),
                   sharding "fsdp", gradient_checkpointing true (local)
           inputs  encoded (training set), parent (t2i or t2v file, or the artifact of the stage before),
                   trained (with a t2v parent: what stage i trained, an artifact or a file; only the groups
                   projector, image_stream and lambda are taken from it)
           A training set of tar shards: `shards` (the folder), vae and clip instead of encoded, and in the config
                   `stream` {content, rule, autoencoder, clip, micro_batch, window, fs, machine}: see bench/stream.py
           A stage that ships as a file is no step: the file is `trained` or `parent` of the next.
sample     config  model {ModelConfig}, sampler {SamplerConfig}, dataset, seed int (the training seed, also of the
                   noise), batch int (local)
           inputs  model (last stage's artifact or file), clips, encoded (first `samples` items), vae (file)
external   config  system (name of an adapter in models/external), rules {Rules of this very pipeline}, sampler {steps,
                   size, time}, words {fixed arguments of the call}, content (digest of the pipeline's files),
                   dataset, seed int (the training seed, of which a clip's own seed is made), count int
           inputs  model (the pipeline's folder), clips (frame 0 of each is animated)
collect    config  items [{id, name, prompt, content}], shape {frames, height, width, short}, count; files (local):
                   another system's videos (bench/steps/collect.py)
           inputs  reference (clips: whose ids and order they have)
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
    """The first `samples` items of one dataset: its clips, their features and its baselines.

    A Fréchet distance falls with the number of videos, so a question with fewer of them has a reference of as many.
    """

    clips: Step  # all of the run's; what stands on them reads the first `samples`
    encoded: Step
    reference: Step
    samples: int
    ends: bool = False  # of its clips the ends are measured too
    baselines: dict[str, Scored] = field(default_factory=dict)


@dataclass(frozen=True)
class Extent:
    """How much of a run one question has: clips of each dataset, training seeds, and whether the ends of clips are
    measured (a variant has a task of its own).
    """

    samples: int
    seeds: tuple[int, ...]
    ends: bool = False

    @property
    def kind(self) -> tuple[int, bool]:
        """Which evaluation sets it needs."""
        return self.samples, self.ends


@dataclass(frozen=True)
class VariantPlan:
    """What one variant of a question comes to; all empty for one that gives no numbers (`notes` of the plan say why).

    `one_set`: there is one set of videos, made by somebody else: it stands beside every seed of the others, and
    `aggregate` is its own score.
    """

    training: dict[int, tuple[Trained, ...]]  # by seed
    scored: dict[tuple[str, int], Scored]  # by (dataset, seed)
    aggregate: dict[str, Step]  # by dataset
    one_set: bool = False


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
    evaluation: dict[str, EvaluationSet]  # by dataset: those of the questions with the most clips
    protocol: ResolvedProtocol
    extents: dict[str, Extent] = field(default_factory=dict)  # by question
    smaller: dict[tuple[int, bool], dict[str, EvaluationSet]] = field(default_factory=dict)  # other kinds of extents'
    variants: dict[tuple[str, str], VariantPlan] = field(default_factory=dict)  # (question, variant)
    claims: dict[tuple[str, str], Step] = field(default_factory=dict)  # (question, dataset)
    notes: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)  # (question, variant): where it is from

    def seeds(self, question: str) -> tuple[int, ...]:
        """Training seeds of a question."""
        return self.extents[question].seeds

    def sets(self, question: str) -> dict[str, EvaluationSet]:
        """By dataset: what the variants of a question are compared with."""
        return self.smaller.get(self.extents[question].kind, self.evaluation)
