"""How a plan comes about: profile and questions -> steps, equal work once. The kinds are described in
`bench/plan.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.data_steps import baseline_step, clip_count, clips_step, frame_bytes, world_step
from bench.graph import File, Graph, Step, User
from bench.measure import aggregate_step, claims_step, features_step, score_step
from bench.plan import EvaluationSet, Frozen, Plan, ResolvedProtocol, Scored, Trained, VariantPlan
from bench.profile import FROZEN, Profile, model_preset
from bench.sources import Sources
from bench.spec import Question
from bench.variants import Settings, Stage, chain, config_to_json, model_to_json, resolve

BASELINES = ("real", "reconstruction", "static", "another")
PRIOR = "text_to_video"  # one more baseline: the parent model, which sees no image
FLOOR = "floor(fps / stride)"  # frames per second of a clip, as the official loader tells them
NO_IMAGE = Settings(context="none", visual_detail_guidance="none")
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
        self.profile, self.sources, self.resolved = profile, sources, protocol
        self.graph = Graph()
        self.model = model_preset(profile.model)
        self.machine = {"device": device, "threads": profile.execution.threads}
        self._variants: dict[Settings, VariantPlan] = {}
        self._frame_bytes = frame_bytes(profile)

    def plan(self, questions: Sequence[Question]) -> Plan:
        chosen = [self._effective(variant.settings) for question in questions for variant in question.variants]
        released = next((s.weights for s in chosen if s.weights is not None), None)
        self.trains = any(s.weights is None for s in chosen)
        self.frozen = self._frozen(None if self.trains else released)
        train_clips = self._clips("train") if self.trains else None
        self.train_encoded = self._encode("train", train_clips, None, self.frozen) if train_clips else None
        self.evaluation = {name: self._evaluation_set(name) for name in self.sources.evaluation(self.profile)}
        plan = Plan(
            self.profile,
            self.sources,
            list(questions),
            self.graph,
            train_clips,
            self.evaluation,
            self.resolved,
        )
        for question in questions:
            self._question(plan, question)
        return plan

    def _effective(self, settings: Settings) -> Settings:
        """A released model whose file is not given is the full model, where a world is there to train it on."""
        stands_in = settings.weights and not self.sources.has(settings.weights) and self.profile.world is not None
        return Settings() if stands_in else settings

    def _frozen(self, released: str | None) -> Frozen:
        """Autoencoder and encoders: those inside a released checkpoint, else the profile's."""
        vae, clip = (self.sources.weight(released or role) for role in FROZEN)
        return Frozen(vae, clip)

    def _about(self, settings: Settings) -> tuple[str, ...]:
        """What a reader must know of a variant that takes its weights from a file, or should."""
        if settings.weights is None:
            return ()
        file = self.sources.weight(settings.weights)
        if self._effective(settings).weights is None:
            return (
                f"no checkpoint given: the {self.profile.name} model, trained here, stands in for the released one; "
                f"--weights {settings.weights}=FILE samples that",
            )
        which = f"{settings.weights}, not given yet" if file.missing else f"{file.path.name}, sha256 {file.digest}"
        return (f"weights {which}: not trained here, seeds are of the noise alone",)

    def _question(self, plan: Plan, question: Question) -> None:
        for variant in question.variants:
            settings = self._effective(variant.settings)
            built = self._variants.get(settings)
            if built is None:
                name = variant.name if settings == variant.settings else "full"
                built = self._variants[settings] = self._variant(name, settings)
            plan.variants[question.name, variant.name] = built
            plan.notes[question.name, variant.name] = self._about(variant.settings)
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
        config = {**config, "machine": self._machine(kind)} if kind in NUMERIC else config
        return self.graph.add(Step(kind, label, config, inputs, local or {}, cost, disk))

    def _machine(self, kind: str) -> dict[str, Any]:
        """What of the machine changes the bits of a step: on a GPU the precision too."""
        of_training, of_rest = self.profile.stages.precision, self.profile.execution.precision
        precision = {"train": of_training, "features": "float32"}.get(kind, of_rest)
        plain = precision == "float32" or self.machine["device"] == "cpu"
        return self.machine if plain else {**self.machine, "precision": precision}

    def _clips(self, dataset: str) -> Step:
        own = dataset in self.sources.data or self.profile.world is None
        world = None if own else self.graph.add(world_step(self.profile))
        return self.graph.add(clips_step(self.profile, self.sources, dataset, world))

    def _encode(self, dataset: str, clips: Step, count: int | None, frozen: Frozen) -> Step:
        model, clip = self.model, self.profile.clip
        config = {
            "autoencoder": config_to_json(model.autoencoder),
            "clip": config_to_json(model.clip),
            "per_frame_encoding": model.per_frame_encoding,
            "frame_rate": model.frame_rate,
            "count": count,
            "micro_batch": self.profile.batches.encode,
            **self._rate(dataset),
        }
        first = dataset != "train"
        if first:  # all that sampling needs: at full size, those of every frame would not fit into memory
            config["tokens"] = "first"
        inputs: dict[str, Step | File] = {"clips": clips, "vae": frozen.vae, "clip": frozen.clip}
        number = count or clip_count(self.profile, dataset)
        sites = (clip.height // model.autoencoder.downsampling) * (clip.width // model.autoencoder.downsampling)
        seen = 1 if first else clip.frames
        of_clip = clip.frames * 8 * 4 * sites + seen * 2 * model.clip.image_tokens * model.clip.vision_width
        cost = number * self.profile.costs.encode_clip
        return self._add("encode", f"encode {dataset}", config, inputs, cost, number * of_clip)

    def _rate(self, dataset: str) -> dict[str, Any]:
        """What the model is told of a clip's speed, where that is not the stride the clip was cut with."""
        told = self.profile.rate.evaluation
        if dataset != "train" and told != "clip":
            return {"fs": told}
        return {"fs": FLOOR} if self.model.frame_rate == "fps" else {}

    def _evaluation_set(self, dataset: str) -> EvaluationSet:
        samples = self.profile.samples
        clips = self._clips(dataset)
        encoded = self._encode(dataset, clips, samples, self.frozen)
        reference = self._features(f"reference {dataset}", clips, clips, real=True)
        found = EvaluationSet(clips, encoded, reference)
        for name in BASELINES:
            made = self._baseline(dataset, name, found)
            found.baselines[name] = self._scored(f"{name} {dataset}", dataset, made, found, None)
        if self.trains:  # the parent: nothing stands on it where nothing is trained
            prior = self._generate(PRIOR, dataset, NO_IMAGE, self.sources.weight("t2v"), found, seed=0)
            found.baselines[PRIOR] = self._scored(f"{PRIOR} {dataset}", dataset, prior, found, None)
        return found

    def _baseline(self, dataset: str, name: str, evaluation: EvaluationSet) -> Step:
        profile = self.profile
        more: dict[str, Any] = {}
        inputs: dict[str, Step | File] = {}
        if name == "reconstruction":
            more = {
                "autoencoder": config_to_json(self.model.autoencoder),
                "micro_batch": profile.batches.reconstruct,
            }
            inputs = {"encoded": evaluation.encoded, "vae": self.frozen.vae}
        machine = self._machine("baseline")
        made = baseline_step(profile, machine, dataset, name, evaluation.clips, profile.samples, more, inputs)
        return self.graph.add(made)

    def _features(self, label: str, clips: Step, conditions: Step, real: bool = False) -> Step:
        machine, count = self._machine("features"), self.profile.samples
        step = features_step(self.resolved, self.profile, self.sources, machine, label, clips, conditions, count, real)
        return self.graph.add(step)

    def _scored(self, label: str, dataset: str, clips: Step, evaluation: EvaluationSet, seed: int | None) -> Scored:
        features = self._features(label, clips, evaluation.clips)
        comparison = "baseline" if seed is None else "generated"
        samples, reference = self.profile.samples, evaluation.reference
        score = score_step(self.resolved, self.profile, label, dataset, samples, features, reference, comparison, seed)
        look = None if seed is None else self._look(label, clips, evaluation)
        return Scored(clips, features, self.graph.add(score), look)

    def _look(self, label: str, clips: Step, evaluation: EvaluationSet) -> Step:
        """Whether generated clips are copies of real ones, of each other, or stills."""
        samples = self.profile.samples
        inputs: dict[str, Step | File] = {"generated": clips, "reference": evaluation.clips}
        return self._add("alike", f"look at {label}", {"count": samples}, inputs, samples * 0.002, samples * 100.0)

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
        assert self.train_encoded is not None, "a stage is planned where something is trained"
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
        model = self.sources.weight(settings.weights) if settings.weights else training[-1].source
        clips = self._generate(name, dataset, settings, model, evaluation, seed)
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
            "seed": seed,
            "dataset": dataset,
        }
        local = {"batch": profile.sampling.batch}  # clips between two saves: not a bit depends on it
        frozen = self._frozen(settings.weights) if settings.weights else self.frozen
        inputs: dict[str, Step | File] = {
            "model": model,
            "clips": evaluation.clips,
            "encoded": self._encode(dataset, evaluation.clips, profile.samples, frozen),
            "vae": frozen.vae,
        }
        branches = {"none": 1, "single": 2, "two_scale": 3}[profile.sampling.guidance]
        cost = profile.samples * profile.sampling.steps * branches * profile.costs.sample_evaluation
        label = f"sample {name} {dataset} seed {seed}"
        return self._add("sample", label, config, inputs, cost, profile.samples * self._frame_bytes, local)

    def _aggregate(self, name: str, dataset: str, features: dict[int, Step]) -> Step:
        label, reference = f"{name} {dataset}", self.evaluation[dataset].reference
        samples = self.profile.samples
        return self.graph.add(aggregate_step(self.resolved, self.profile, label, dataset, samples, features, reference))

    def _claims(self, question: Question, dataset: str, plan: Plan) -> Step:
        profile, named = self.profile, dict.fromkeys(name for claim in question.expect for name in claim.better)
        inputs: dict[str, Step | File] = {"reference": self.evaluation[dataset].reference}
        for variant in named:
            scored = plan.variants[question.name, variant].scored
            inputs |= {f"{variant}.seed_{seed}": scored[dataset, seed].features for seed in profile.seeds}
        claims = [claim.model_dump(mode="json") for claim in question.expect]
        made = claims_step(
            self.resolved, profile, question.name, dataset, profile.samples, profile.seeds, claims, inputs
        )
        step = self.graph.add(made)
        user: User = (question.name, "claims", None)
        self.graph.use(step, user)
        return step
