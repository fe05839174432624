"""How a plan comes about: profile and questions -> steps, equal work once. The kinds are described in
`bench/plan.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.data_steps import (
    baseline_step,
)
from bench.graph import File, Step, User
from bench.measure import ENDS_OF, aggregate_step, claims_step, features_step, score_step
from bench.plan import EvaluationSet, Extent, Plan, ResolvedProtocol, Scored, Trained, VariantPlan
from bench.planner_training import Training
from bench.profile import Profile
from bench.sources import Sources
from bench.spec import Question
from bench.system_steps import NOT_TRAINED, about_system, collect_step, external_step
from bench.systems import Given, not_given
from bench.variants import (
    Settings,
    config_to_json,
    lambda_factors,
    model_to_json,
    resolve,
    sampler_of,
)

BASELINES = ("real", "reconstruction", "static", "another")
PRIOR = "text_to_video"  # one more baseline: the parent model, which sees no image
NO_IMAGE = Settings(context="none", visual_detail_guidance="none")


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


class _Builder(Training):
    """Adds steps to one graph; equal variants of different questions are looked up, not built again."""

    def plan(self, questions: Sequence[Question]) -> Plan:
        chosen = [self._effective(v.settings) for q in questions for v in q.variants if not self._absent(q, v.settings)]
        released = next((s.weights for s in chosen if s.weights is not None), None)
        self.trains = any(s.weights is None and s.system is None for s in chosen)
        self.frozen = self._frozen(None if self.trains else released)
        self.stream = self._stream() if self.trains else None
        train_clips = self._clips("train") if self.trains and self.stream is None else None
        self.train_encoded = self._encode("train", train_clips, None, self.frozen) if train_clips else None
        extents = {question.name: self._extent(question) for question in questions}
        kinds = sorted({extent.kind for extent in extents.values()} or {(self.profile.samples, False)}, key=_most_first)
        sets = {kind: self._evaluation_sets(*kind) for kind in kinds}
        plan = Plan(
            self.profile,
            self.sources,
            list(questions),
            self.graph,
            train_clips,
            sets.pop(kinds[0]),
            self.resolved,
            extents,
            sets,
        )
        for question in questions:
            self._question(plan, question)
        return plan

    def _extent(self, question: Question) -> Extent:
        """What the profile has, as far as the question wants it."""
        samples, seeds = self.profile.samples, self.profile.seeds
        ends = any(variant.settings.task != "animate" for variant in question.variants)
        return Extent(min(samples, question.samples or samples), seeds[: question.seeds], ends)

    def _evaluation_sets(self, samples: int, ends: bool) -> dict[str, EvaluationSet]:
        return {name: self._evaluation_set(name, samples, ends) for name in self.sources.evaluation(self.profile)}

    def _effective(self, settings: Settings) -> Settings:
        """A released model whose file is not given is the full model, where a world is there to train it on; it is
        sampled as the variant says.
        """
        stands_in = settings.weights and not self.sources.has(settings.weights) and self.profile.world is not None
        return replace(settings, weights=None) if stands_in else settings

    def _about(self, settings: Settings) -> tuple[str, ...]:
        """What a reader must know of a variant that takes its weights from a file, or should."""
        if (adapted := self._adapted(settings)) is not None:
            base = self.sources.weight("t2v").path.name
            words = "comes with the project, from a longer last stage than trained variants have; not trained here"
            return (f"{adapted.path.name} on {base}: {words}, seeds are of the noise alone",)
        if settings.system is not None:
            return about_system(self.sources.systems[settings.system], tuple(self.sources.evaluation(self.profile)))
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

    def _absent(self, question: Question, settings: Settings) -> str | None:
        """Why a variant gives no numbers; None where it gives some. A comparison of systems goes on without it."""
        if settings.system is not None:
            return None if settings.system in self.sources.systems else not_given(settings.system)
        compares = any(variant.settings.system for variant in question.variants)
        can_train = self.profile.world is not None or "train" in self.sources.data
        return NOT_TRAINED if compares and not can_train and settings.weights is None else None

    def _question(self, plan: Plan, question: Question) -> None:
        sets, extent = plan.sets(question.name), plan.extents[question.name]
        for variant in question.variants:
            if (absent := self._absent(question, variant.settings)) is not None:
                plan.variants[question.name, variant.name] = VariantPlan({}, {}, {})
                plan.notes[question.name, variant.name] = (absent,)
                continue
            settings = self._effective(variant.settings)
            built = self._variants.get((settings, extent))
            if built is None:
                name = "full" if settings == Settings() != variant.settings else variant.name
                built = self._variants[settings, extent] = self._variant(name, settings, sets, extent.seeds)
            plan.variants[question.name, variant.name] = built
            plan.notes[question.name, variant.name] = self._about(variant.settings)
            for (_, seed), scored in built.scored.items():
                self.graph.use(scored.score, (question.name, variant.name, seed))
            for aggregate in built.aggregate.values():
                self.graph.use(aggregate, (question.name, variant.name, None))
        for dataset, evaluation in sets.items():
            for name, scored in evaluation.baselines.items():
                self.graph.use(scored.score, (question.name, name, None))
            if question.expect:
                plan.claims[question.name, dataset] = self._claims(question, dataset, plan)

    def _evaluation_set(self, dataset: str, samples: int, ends: bool) -> EvaluationSet:
        clips = self._clips(dataset)
        encoded = self._encode(dataset, clips, samples, self.frozen)
        label = f"reference {dataset}{self._of(samples)}"
        reference = self._features(label, clips, clips, samples, True, ENDS_OF["animate"] if ends else ())
        found = EvaluationSet(clips, encoded, reference, samples, ends)
        for name in BASELINES:
            made = self._baseline(dataset, name, found)
            found.baselines[name] = self._scored(f"{name} {dataset}", dataset, made, found, None)
        if self.trains:  # the parent: nothing stands on it where nothing is trained
            prior = self._generate(PRIOR, dataset, NO_IMAGE, self.sources.weight("t2v"), found, seed=0)
            found.baselines[PRIOR] = self._scored(f"{PRIOR} {dataset}", dataset, prior, found, None)
        return found

    def _of(self, samples: int) -> str:
        """What a label adds where a question has fewer clips than the run."""
        return "" if samples == self.profile.samples else f", {samples} clips"

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
        made = baseline_step(profile, machine, dataset, name, evaluation.clips, evaluation.samples, more, inputs)
        return self.graph.add(made)

    def _features(
        self,
        label: str,
        clips: Step,
        conditions: Step,
        count: int,
        real: bool = False,
        ends: Sequence[str] = (),
    ) -> Step:
        about = (self.resolved, self.profile, self.sources, self._machine("features"))
        return self.graph.add(features_step(*about, label, clips, conditions, count, real, ends))

    def _scored(
        self,
        label: str,
        dataset: str,
        clips: Step,
        evaluation: EvaluationSet,
        seed: int | None,
        task: str = "animate",
        made: bool | None = None,  # by a system, not taken from real clips; None: whatever has a seed is
    ) -> Scored:
        samples, reference = evaluation.samples, evaluation.reference
        label += self._of(samples)
        ends = ENDS_OF[task] if evaluation.ends else ()
        features = self._features(label, clips, evaluation.clips, samples, ends=ends)
        made = seed is not None if made is None else made
        comparison = "generated" if made else "baseline"
        score = score_step(self.resolved, self.profile, label, dataset, samples, features, reference, comparison, seed)
        look = self._look(label, clips, evaluation) if made else None
        return Scored(clips, features, self.graph.add(score), look)

    def _look(self, label: str, clips: Step, evaluation: EvaluationSet) -> Step:
        """Whether generated clips are copies of real ones, of each other, or stills."""
        samples = evaluation.samples
        inputs: dict[str, Step | File] = {"generated": clips, "reference": evaluation.clips}
        return self._add("alike", f"look at {label}", {"count": samples}, inputs, samples * 0.002, samples * 100.0)

    def _variant(
        self, name: str, settings: Settings, sets: Mapping[str, EvaluationSet], seeds: Sequence[int]
    ) -> VariantPlan:
        if settings.system is not None and self.sources.systems[settings.system].pipeline is None:
            return self._videos(name, self.sources.systems[settings.system], sets, seeds)
        training = {seed: tuple(self._train(name, settings, seed)) for seed in seeds}
        scored = {
            (dataset, seed): self._sample(name, settings, training[seed], dataset, evaluation, seed)
            for dataset, evaluation in sets.items()
            for seed in seeds
        }
        aggregate = {
            dataset: self._aggregate(name, dataset, {s: scored[dataset, s].features for s in seeds}, evaluation)
            for dataset, evaluation in sets.items()
        }
        return VariantPlan(training, scored, aggregate)

    def _videos(self, name: str, given: Given, sets: Mapping[str, EvaluationSet], seeds: Sequence[int]) -> VariantPlan:
        """One set of videos of each data set that there are some of; it stands beside every seed of the others."""
        found = {}
        for dataset, videos in given.videos.items():
            evaluation = sets[dataset]
            clips = self.graph.add(collect_step(name, dataset, videos, self.resolved, evaluation))
            found[dataset] = self._scored(f"{name} {dataset}", dataset, clips, evaluation, None, made=True)
        scored = {(dataset, seed): one for dataset, one in found.items() for seed in seeds}
        return VariantPlan({}, scored, {dataset: one.score for dataset, one in found.items()}, one_set=True)

    def _sample(
        self,
        name: str,
        settings: Settings,
        training: tuple[Trained, ...],
        dataset: str,
        evaluation: EvaluationSet,
        seed: int,
    ) -> Scored:
        label = f"{name} {dataset} seed {seed}"
        if settings.system is not None:
            given, machine = self.sources.systems[settings.system], self._machine("external")
            clips = self.graph.add(external_step(name, settings, given, dataset, evaluation, seed, machine))
            return self._scored(label, dataset, clips, evaluation, seed)
        role = settings.weights or ("t2v" if self._adapted(settings) else None)
        model = self.sources.weight(role) if role else training[-1].source
        clips = self._generate(name, dataset, settings, model, evaluation, seed)
        return self._scored(label, dataset, clips, evaluation, seed, settings.task)

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
        profile, samples = self.profile, evaluation.samples
        sampler = sampler_of(settings, profile.sampling.config)
        config = {
            "model": model_to_json(resolve(self.model, settings)),
            "sampler": config_to_json(sampler),
            "seed": seed,
            "dataset": dataset,
            **_beyond(settings),
        }
        local = {"batch": profile.sampling.batch}  # clips between two saves: not a bit depends on it
        frozen = self._frozen(settings.weights) if settings.weights else self.frozen
        inputs: dict[str, Step | File] = {
            "model": model,
            "clips": evaluation.clips,
            "encoded": self._encode(dataset, evaluation.clips, samples, frozen),
            "vae": frozen.vae,
        }
        if (adapted := self._adapted(settings)) is not None:
            inputs["adapted"] = adapted
        branches = {"none": 1, "single": 2, "two_scale": 3}[sampler.guidance]
        cost = samples * sampler.steps * branches * profile.costs.sample_evaluation
        label = f"sample {name} {dataset} seed {seed}{self._of(samples)}"
        return self._add("sample", label, config, inputs, cost, samples * self._frame_bytes, local)

    def _aggregate(self, name: str, dataset: str, features: dict[int, Step], evaluation: EvaluationSet) -> Step:
        samples, reference = evaluation.samples, evaluation.reference
        label = f"{name} {dataset}{self._of(samples)}"
        return self.graph.add(aggregate_step(self.resolved, self.profile, label, dataset, samples, features, reference))

    def _claims(self, question: Question, dataset: str, plan: Plan) -> Step:
        extent, named = plan.extents[question.name], dict.fromkeys(n for c in question.expect for n in c.order)
        inputs: dict[str, Step | File] = {"reference": plan.sets(question.name)[dataset].reference}
        for variant in named:
            scored = plan.variants[question.name, variant].scored
            inputs |= {f"{variant}.seed_{seed}": one.features for (of, seed), one in scored.items() if of == dataset}
        claims = [claim.to_json() for claim in question.expect]
        made = claims_step(
            self.resolved, self.profile, question.name, dataset, extent.samples, extent.seeds, claims, inputs
        )
        step = self.graph.add(made)
        user: User = (question.name, "claims", None)
        self.graph.use(step, user)
        return step


def _most_first(kind: tuple[int, bool]) -> tuple[int, bool]:
    """Order of evaluation sets: the most clips, of those the plain one."""
    return -kind[0], kind[1]


def _beyond(settings: Settings) -> dict[str, Any]:
    """What a variant changes of sampling beside the sampler: nothing is said of what stays as it is."""
    factors = lambda_factors(settings)
    changed: dict[str, Any] = {"lambda_factors": factors} if factors else {}
    changed |= {"ends_at": "first"} if settings.task == "loop" else {}
    return changed | ({"prompt": settings.prompt} if settings.prompt != "caption" else {})
