"""What is trained for a plan, and on what? Clips, latents and the stages of each variant as steps of one graph.

`bench/planner.py` goes on from here: what is sampled, scored and claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.data_steps import captions_of, clip_count, clips_step, frame_bytes, stream_rule, streamed, world_step
from bench.errors import UsageError
from bench.graph import File, Graph, Step
from bench.plan import Extent, Frozen, ResolvedProtocol, Trained, VariantPlan
from bench.profile import FROZEN, Profile, Stages, model_preset
from bench.sources import Sources
from bench.variants import Captions, Settings, Stage, as_trained, chain, config_to_json, model_to_json
from models.flops import model_parameters

FLOOR = "floor(fps / stride)"  # frames per second of a clip, as the official loader tells them
NUMERIC = ("encode", "captions", "train", "sample", "baseline", "features")  # whose last bits depend on the machine


class Training:
    """Adds steps to one graph: data, latents, training stages.

    `trains`, `frozen`, `train_encoded` and `stream` are known once the questions are (`bench/planner.py`).
    """

    trains: bool
    frozen: Frozen
    train_encoded: Step | None
    stream: dict[str, Any] | None

    def __init__(self, profile: Profile, sources: Sources, protocol: ResolvedProtocol, device: str) -> None:
        self.profile, self.sources, self.resolved = profile, sources, protocol
        self.graph = Graph()
        self.model = model_preset(profile.model)
        self.machine = {"device": device, "threads": profile.execution.threads}
        self._variants: dict[tuple[Settings, Extent], VariantPlan] = {}
        self._frame_bytes = frame_bytes(profile)

    def _frozen(self, released: str | None) -> Frozen:
        """Autoencoder and encoders: those inside a released checkpoint, else the profile's."""
        vae, clip = (self.sources.weight(released or role) for role in FROZEN)
        return Frozen(vae, clip)

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
        if self.machine["device"] == "cpu":
            return self.machine
        half = {} if precision == "float32" else {"precision": precision}
        compiled = {"compile": True} if kind == "sample" and self.profile.execution.compile else {}
        return {**self.machine, **half, **compiled}

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

    def _train(self, name: str, settings: Settings, seed: int) -> Iterator[Trained]:
        before: Step | File | None = None  # the stage before
        if self._adapted(settings) is not None:
            return
        for stage in chain(self.model, settings, self.profile.stages.budget) if settings.system is None else ():
            shipped = self._shipped(stage)
            if shipped is not None:
                before = shipped
                yield Trained(stage, seed, None, shipped)
                continue
            of_prior = stage.name in ("i", "i'")  # shared or shipped: it knows the captions as they are
            step = self._stage(name, stage, seed, before, "full" if of_prior else settings.captions)
            before = step
            yield Trained(stage, seed, step, step)

    def _adapted(self, settings: Settings) -> File | None:
        """What comes with the profile of a model that is shown both ends, for a variant that changes nothing else."""
        plain = as_trained(settings) == Settings(task=settings.task)
        ships = settings.task != "animate" and plain and self.sources.has("interpolation")
        return self.sources.weight("interpolation") if ships else None

    def _shipped(self, stage: Stage) -> File | None:
        """The file that stands for a stage, if the profile ships one."""
        if stage.shipped is None or not self.profile.stages.i.ship:
            return None
        return self.sources.weights.get(f"stage_i_{stage.shipped}")

    def _stream(self) -> dict[str, Any] | None:
        """What training steps are told of a training set that is read from shards; None for one that is encoded."""
        own = streamed(self.sources)
        if own is None:
            return None
        return {
            "content": own.content,
            "rule": stream_rule(self.profile),
            "autoencoder": config_to_json(self.model.autoencoder),
            "clip": config_to_json(self.model.clip),
            "micro_batch": self.profile.batches.encode,
            "window": self.profile.stream.window,
            "machine": self._machine("encode"),
            **self._rate("train"),
        }

    def _training_inputs(self, captions: Captions) -> dict[str, Step | File]:
        """The clips that a stage is trained on. Raises UsageError for other captions of a streamed set."""
        own = streamed(self.sources)
        if own is not None:
            if captions != "full":
                raise UsageError(f"train.captions is '{captions}': not with --data train={own.root}, which is streamed")
            return {"shards": File(own.root, own.content), "vae": self.frozen.vae, "clip": self.frozen.clip}
        assert self.train_encoded is not None, "a stage is planned where something is trained"
        if captions == "full":
            return {"encoded": self.train_encoded}
        return {"encoded": self.train_encoded, "captions": self._captions(captions, self.train_encoded)}

    def _stage(self, name: str, stage: Stage, seed: int, before: Step | File | None, captions: Captions) -> Step:
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
            **_beyond_default(stages),
            **({"stream": self.stream} if self.stream else {}),
        }
        inputs = self._training_inputs(captions)
        if stage.parent == "previous":
            assert before is not None, "only a first stage starts from a parent's weights"
            inputs["parent"] = before
        else:
            inputs["parent"] = self.sources.weight(stage.parent)
            if stage.adopts and before is not None:
                inputs["trained"] = before
        costs = self.profile.costs
        read = costs.clip + costs.encode_clip if self.stream else 0.0
        cost = stage.steps * batch * ((costs.train_image if stage.images else costs.train_clip) + read)
        label = f"train {name} stage {stage.name} seed {seed}"
        recompute = {"gradient_checkpointing": True} if stages.gradient_checkpointing else {}  # changes no bit
        local = {"checkpoint_every": stages.checkpoint_every, **recompute}
        return self._add("train", label, config, inputs, cost, 4.0 * model_parameters(stage.model), local)

    def _captions(self, kind: Captions, encoded: Step) -> Step:
        """Other texts for the training clips, and for which of them."""
        told = captions_of(self.profile, self.sources, kind, config_to_json(self.model.clip))
        inputs: dict[str, Step | File] = {"encoded": encoded, "clip": self.frozen.clip}
        return self._add("captions", f"captions {kind}", told.config, inputs, told.cost, told.disk)


def _beyond_default(stages: Stages) -> dict[str, Any]:
    """Choices of training that change bits: named where they are made, so that other fingerprints stay as they are."""
    chosen = {"ema": stages.ema, "sharding": stages.sharding}
    return {name: value for name, value in chosen.items() if value not in (None, "none")}
