"""How a plan comes about: profile and questions -> steps, equal work once. The kinds are described in
`bench/plan.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.graph import File, Graph, Step, User
from bench.plan import EvaluationSet, Plan, ResolvedProtocol, Scored, Trained, VariantPlan
from bench.profile import Profile, model_preset
from bench.sources import EVALUATION, Sources
from bench.spec import Question
from bench.variants import Settings, Stage, chain, config_to_json, model_to_json, resolve

BASELINES = ("real", "reconstruction", "static", "another")
PRIOR = "text_to_video"  # one more baseline: the parent model, which sees no image
NO_IMAGE = Settings(context="none", visual_detail_guidance="none")
CATALOGS = {"train": "webvid", "ucf101": "ucf101", "msrvtt": "msrvtt"}
NUMERIC = ("encode", "train", "sample", "baseline", "features")  # kinds whose last bits depend on the machine


def build_plan(
    questions: Sequence[Question],
    profile: Profile,
    sources: Sources,
    protocol: ResolvedProtocol,
    device: str = "cpu",
) -> Plan:
    """The whole graph of a run.

    Args:
        device: "cpu" or "cuda": where networks run; it changes the last bits, so it is part of the
            fingerprints.
    """
    return _Builder(profile, sources, protocol, device).plan(questions)


class _Builder:
    """Adds steps to one graph; equal variants of different questions are looked up, not built again."""

    def __init__(self, profile: Profile, sources: Sources, protocol: ResolvedProtocol, device: str) -> None:
        self.profile, self.sources, self.resolved, self.protocol = profile, sources, protocol, protocol.config
        self.graph = Graph()
        self.model = model_preset(profile.model)
        self.machine = {"device": device, "threads": profile.execution.threads}
        self._variants: dict[Settings, VariantPlan] = {}
        self._frame_bytes = profile.clip.frames * profile.clip.height * profile.clip.width * 3

    def plan(self, questions: Sequence[Question]) -> Plan:
        self.train_clips = self._clips("train")
        self.train_encoded = self._encode("train", self.train_clips, None)
        self.evaluation = {name: self._evaluation_set(name) for name in EVALUATION}
        plan = Plan(
            self.profile,
            self.sources,
            list(questions),
            self.graph,
            self.train_clips,
            self.evaluation,
            self.resolved,
        )
        for question in questions:
            self._question(plan, question)
        return plan

    def _question(self, plan: Plan, question: Question) -> None:
        for variant in question.variants:
            built = self._variants.get(variant.settings)
            if built is None:
                built = self._variants[variant.settings] = self._variant(variant.name, variant.settings)
            plan.variants[question.name, variant.name] = built
            for (_, seed), scored in built.scored.items():
                self.graph.use(scored.score, (question.name, variant.name, seed))
            for aggregate in built.aggregate.values():
                self.graph.use(aggregate, (question.name, variant.name, None))
        for dataset, evaluation in self.evaluation.items():
            for name, scored in evaluation.baselines.items():
                self.graph.use(scored.score, (question.name, name, None))
            if question.expect:
                plan.claims[question.name, dataset] = self._claims(question, dataset, plan)

    def _add(
        self,
        kind: str,
        label: str,
        config: dict[str, Any],
        inputs: Mapping[str, Step | File],
        cost: float,
        disk: float = 0.0,
        local: dict[str, Any] | None = None,
    ) -> Step:
        config = {**config, "machine": self.machine} if kind in NUMERIC else config
        return self.graph.add(Step(kind, label, config, inputs, local or {}, cost, disk))

    def _clips(self, dataset: str) -> Step:
        profile, own = self.profile, self.sources.data.get(dataset)
        count = self._clip_count(dataset)
        config: dict[str, Any] = {
            "dataset": dataset,
            "catalog": own.catalog if own else CATALOGS[dataset],
            "split": None if dataset == "train" else getattr(profile.evaluation, dataset).split,
            "rule": self._rule(dataset),
            "content": own.content if own else None,
        }
        local: dict[str, Any] = {"root": str(own.root)} if own else {}
        inputs: dict[str, Step | File] = {}
        if own is None:
            inputs["world"] = self._world()
            config["root"] = dataset
        if config["catalog"] == "folder" and config["rule"]["caption"] == "class_name":
            config["rule"]["caption"] = "first"
        cost, disk = count * profile.costs.clip, count * self._frame_bytes
        return self._add("clips", f"clips {dataset}", config, inputs, cost, disk, local)

    def _clip_count(self, dataset: str) -> int:
        """Clips that a set will roughly have."""
        if dataset != "train":
            return 2 * self.profile.samples
        training, world = self.profile.training, self.profile.world
        videos = world.train_videos if world else 1000
        return training.count or videos * training.clips_per_video

    def _rule(self, dataset: str) -> dict[str, Any]:
        clip, profile = self.profile.clip, self.profile
        size = {"frames": clip.frames, "height": clip.height, "width": clip.width}
        if dataset == "train":
            return {**size, "frame_stride": list(clip.train_strides), **profile.training.model_dump()}
        chosen = getattr(profile.evaluation, dataset)
        return {
            **size,
            "frame_stride": clip.frame_stride,
            "start": chosen.start,
            "too_short": chosen.too_short,
            "clips_per_video": 1,
            "count": 2 * profile.samples,
            "seed": chosen.seed,
            "caption": chosen.caption,
        }

    def _world(self) -> Step:
        world = self.profile.world
        assert world is not None, "find_sources has checked that every set has a source"
        videos = world.train_videos + world.msrvtt_videos + 24 * world.ucf101_groups * world.ucf101_clips
        cost, disk = videos * self.profile.costs.world_video, videos * 12e3
        return self._add("world", "procedural world", world.model_dump(), {}, cost, disk)

    def _encode(self, dataset: str, clips: Step, count: int | None) -> Step:
        model, clip = self.model, self.profile.clip
        config = {
            "autoencoder": config_to_json(model.autoencoder),
            "clip": config_to_json(model.clip),
            "per_frame_encoding": model.per_frame_encoding,
            "frame_rate": model.frame_rate,
            "count": count,
            "micro_batch": self.profile.batches.encode,
        }
        inputs: dict[str, Step | File] = {
            "clips": clips,
            "vae": self.sources.weight("vae"),
            "clip": self.sources.weight("clip"),
        }
        number = count or self._clip_count(dataset)
        sites = (clip.height // model.autoencoder.downsampling) * (clip.width // model.autoencoder.downsampling)
        of_clip = clip.frames * (8 * 4 * sites + 2 * model.clip.image_tokens * model.clip.vision_width)
        cost = number * self.profile.costs.encode_clip
        return self._add("encode", f"encode {dataset}", config, inputs, cost, number * of_clip)

    def _evaluation_set(self, dataset: str) -> EvaluationSet:
        samples = self.profile.samples
        clips = self._clips(dataset)
        encoded = self._encode(dataset, clips, samples)
        reference = self._features(f"reference {dataset}", clips, clips)
        found = EvaluationSet(clips, encoded, reference)
        for name in BASELINES:
            made = self._baseline(dataset, name, found)
            found.baselines[name] = self._scored(f"{name} {dataset}", dataset, made, found, None)
        prior = self._generate(PRIOR, dataset, NO_IMAGE, self.sources.weight("t2v"), found, seed=0)
        found.baselines[PRIOR] = self._scored(f"{PRIOR} {dataset}", dataset, prior, found, None)
        return found

    def _baseline(self, dataset: str, name: str, evaluation: EvaluationSet) -> Step:
        samples, profile = self.profile.samples, self.profile
        config: dict[str, Any] = {"baseline": name, "count": samples, "seed": 0}
        inputs: dict[str, Step | File] = {"clips": evaluation.clips}
        if name == "reconstruction":
            config |= {
                "autoencoder": config_to_json(self.model.autoencoder),
                "micro_batch": profile.batches.reconstruct,
            }
            inputs |= {"encoded": evaluation.encoded, "vae": self.sources.weight("vae")}
        cost = samples * (profile.costs.encode_clip if name == "reconstruction" else 0.001)
        label = f"baseline {name} {dataset}"
        return self._add("baseline", label, config, inputs, cost, samples * self._frame_bytes)

    def _features(self, label: str, clips: Step, conditions: Step) -> Step:
        samples = self.profile.samples
        config = {"count": samples, "micro_batch": self.profile.batches.features}
        inputs: dict[str, Step | File] = {
            "clips": clips,
            "conditions": conditions,
            "classifier": self.sources.weight("classifier"),
            "perceptual": self.sources.weight("perceptual"),
        }
        cost = samples * self.profile.costs.feature_clip
        return self._add("features", f"features {label}", config, inputs, cost, samples * 600.0)

    def _scored(self, label: str, dataset: str, clips: Step, evaluation: EvaluationSet, seed: int | None) -> Scored:
        features = self._features(label, clips, evaluation.clips)
        config = {
            "protocol": self.protocol,
            "dataset": dataset,
            "samples": self.profile.samples,
            "comparison": "baseline" if seed is None else "generated",
            "seed": seed,
        }
        inputs: dict[str, Step | File] = {"generated": features, "reference": evaluation.reference}
        score = self._add("score", f"score {label}", config, inputs, self.profile.costs.score, 4e3)
        return Scored(clips, features, score)

    def _variant(self, name: str, settings: Settings) -> VariantPlan:
        seeds = self.profile.seeds
        training = {seed: tuple(self._train(name, settings, seed)) for seed in seeds}
        scored = {
            (dataset, seed): self._sample(name, settings, training[seed], dataset, seed)
            for dataset in self.evaluation
            for seed in seeds
        }
        aggregate = {
            dataset: self._aggregate(name, dataset, {s: scored[dataset, s].features for s in seeds})
            for dataset in self.evaluation
        }
        return VariantPlan(training, scored, aggregate)

    def _train(self, name: str, settings: Settings, seed: int) -> Iterator[Trained]:
        before: Step | File | None = None  # the stage before
        for stage in chain(self.model, settings, self.profile.stages.budget):
            shipped = self._shipped(stage)
            if shipped is not None:
                before = shipped
                yield Trained(stage, seed, None, shipped)
                continue
            step = self._stage(name, stage, seed, before)
            before = step
            yield Trained(stage, seed, step, step)

    def _shipped(self, stage: Stage) -> File | None:
        """The file that stands for a stage, if the profile ships one."""
        if stage.shipped is None or not self.profile.stages.i.ship:
            return None
        return self.sources.weights.get(f"stage_i_{stage.shipped}")

    def _stage(self, name: str, stage: Stage, seed: int, before: Step | File | None) -> Step:
        stages = self.profile.stages
        own = {"i": stages.i, "i'": stages.i, "ii": stages.ii, "iii": stages.iii}[stage.name]
        batch = own.batch or stages.batch
        config = {
            "model": model_to_json(stage.model),
            "stage": stage.name,
            "images": stage.images,
            "groups": list(stage.groups),
            "condition_frame": stage.condition_frame,
            "seed": seed,
            "steps": stage.steps,
            "batch": batch,
            "micro_batch": own.micro_batch or stages.micro_batch,
            "learning_rate": own.learning_rate or stages.learning_rate,
            "warmup": stages.warmup,
            "final_rate": stages.final_rate,
            "clip_norm": stages.clip_norm,
            "uncond_prob": stages.uncond_prob,
            "log_every": stages.log_every,
        }
        inputs: dict[str, Step | File] = {"encoded": self.train_encoded}
        if stage.parent == "previous":
            assert before is not None, "only a first stage starts from a parent's weights"
            inputs["parent"] = before
        else:
            inputs["parent"] = self.sources.weight(stage.parent)
            if stage.adopts and before is not None:
                inputs["trained"] = before
        costs = self.profile.costs
        cost = stage.steps * batch * (costs.train_image if stage.images else costs.train_clip)
        label = f"train {name} stage {stage.name} seed {seed}"
        local = {"checkpoint_every": stages.checkpoint_every}
        return self._add("train", label, config, inputs, cost, self._model_bytes(), local)

    def _model_bytes(self) -> float:
        """Rough size of a trained model: its parent's file and a third."""
        path = self.sources.weight("t2v").path
        return 1.33 * path.stat().st_size if path.is_file() else 4e6

    def _sample(self, name: str, settings: Settings, training: tuple[Trained, ...], dataset: str, seed: int) -> Scored:
        evaluation = self.evaluation[dataset]
        clips = self._generate(name, dataset, settings, training[-1].source, evaluation, seed)
        return self._scored(f"{name} {dataset} seed {seed}", dataset, clips, evaluation, seed)

    def _generate(
        self,
        name: str,
        dataset: str,
        settings: Settings,
        model: Step | File,
        evaluation: EvaluationSet,
        seed: int,
    ) -> Step:
        """One clip per reference clip from a trained model."""
        profile = self.profile
        config = {
            "model": model_to_json(resolve(self.model, settings)),
            "sampler": config_to_json(profile.sampling.config),
            "micro_batch": profile.sampling.batch,
            "seed": seed,
            "dataset": dataset,
        }
        inputs: dict[str, Step | File] = {
            "model": model,
            "clips": evaluation.clips,
            "encoded": evaluation.encoded,
            "vae": self.sources.weight("vae"),
        }
        branches = {"none": 1, "single": 2, "two_scale": 3}[profile.sampling.guidance]
        cost = profile.samples * profile.sampling.steps * branches * profile.costs.sample_evaluation
        label = f"sample {name} {dataset} seed {seed}"
        return self._add("sample", label, config, inputs, cost, profile.samples * self._frame_bytes)

    def _aggregate(self, name: str, dataset: str, features: dict[int, Step]) -> Step:
        config = {
            "protocol": self.protocol,
            "dataset": dataset,
            "samples": self.profile.samples,
            "seeds": list(features),
        }
        inputs: dict[str, Step | File] = {"reference": self.evaluation[dataset].reference}
        inputs |= {f"seed_{seed}": step for seed, step in features.items()}
        return self._add("aggregate", f"aggregate {name} {dataset}", config, inputs, self.profile.costs.aggregate, 4e3)

    def _claims(self, question: Question, dataset: str, plan: Plan) -> Step:
        named = list(dict.fromkeys(variant for claim in question.expect for variant in claim.better))
        config = {
            "protocol": self.protocol,
            "dataset": dataset,
            "question": question.name,
            "samples": self.profile.samples,
            "seeds": list(self.profile.seeds),
            "claims": [claim.model_dump(mode="json") for claim in question.expect],
        }
        inputs: dict[str, Step | File] = {"reference": self.evaluation[dataset].reference}
        for variant in named:
            scored = plan.variants[question.name, variant].scored
            inputs |= {f"{variant}.seed_{seed}": scored[dataset, seed].features for seed in self.profile.seeds}
        cost = self.profile.costs.claims * len(question.expect)
        step = self._add("claims", f"claims {question.name} {dataset}", config, inputs, cost, 4e3)
        user: User = (question.name, "claims", None)
        self.graph.use(step, user)
        return step
