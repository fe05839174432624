"""Which model animates a picture: the user's checkpoint, the one that comes with a profile, or one that is trained.

Shapes: none here; networks come out as a `Pipeline` in evaluation mode, with a line about where they are from.
Source: DynamiCrafter, arXiv:2310.12190; the stages of its training are the benchmark's own (bench/planner.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError, Interrupted, UsageError
from bench.fingerprint import FileHashes
from bench.graph import Graph, Step
from bench.local_engine import LocalEngine
from bench.parts import load_adapted, load_autoencoder, load_encoders, load_generator
from bench.profile import ROOT, Profile
from bench.progress import display_for
from bench.runner import Options, Prepared, failures, prepare
from bench.spec import Question, Variant
from bench.steps.train import FILE
from bench.store import Store
from bench.variants import ENDS, Settings
from models.checkpoint import is_official, load_released, open_official
from models.dynamicrafter import DynamiCrafter
from models.pipeline import Pipeline
from models.schedule import Schedule

if TYPE_CHECKING:
    from bench.animate import Request, Target

LONGER = 3  # times the steps of stage iii, for a model that is shown two frames and not all
SHIPPED = {False: "animation", True: "interpolation"}  # roles of the models that come with a profile, by `ends`
OWN_PARTS = ("unet.", "projector.")


def open_pipeline(request: Request, target: Target) -> Pipeline:
    """What is asked for: the user's checkpoint, the model that comes with the profile, or one that is trained.

    Raises as `from_checkpoint` and `trained`.
    """
    return from_checkpoint(request, target) if request.checkpoint else trained(request, target)


def trained(request: Request, target: Target) -> Pipeline:
    """The model that comes with a profile, else its full model at its first seed, out of the store; trained first
    where it is not there.

    Raises UsageError when weights that it starts from are missing, BenchError when a step failed.
    """
    if (shipped := _shipped(request, target)) is not None:
        return shipped
    prepared, step = _planned(request, target)
    store = Store(Options(specs=(), store=request.store).store_folder)
    kind = "the full model" if not request.ends else "the full model, shown the first and the last picture"
    words = f"{kind}, profile {target.name}, training seed {prepared.plan.profile.seeds[0]}"
    if not store.has(step.kind, step.fingerprint):
        graph = needed(step)
        absent = graph.missing_files()
        if absent:
            raise UsageError([f"{file.path}: there is no such file; the model starts from it" for file in absent])
        print(f"{words} is not in {store.root} yet: training it first, kept for the next time", flush=True)
        _train(prepared, graph, store)
    print(f"model: {words}, {step.kind} {step.fingerprint}")
    return _pipeline(store.folder(step.kind, step.fingerprint) / FILE, target)


def _planned(request: Request, target: Target) -> tuple[Prepared, Step]:
    """What there is to train, and the last step of it."""
    options = Options(specs=(), profile=request.profile, store=request.store)
    settings = Settings(visual_detail_guidance=ENDS) if request.ends else Settings()
    prepared = prepare(options, [_question(settings)], _longer(target.profile) if request.ends else None)
    step = prepared.plan.variants["animate", "model"].training[prepared.plan.profile.seeds[0]][-1].step
    assert step is not None, "only a first stage ships as a file, and the full model has three"
    return prepared, step


def model_identity(request: Request, target: Target) -> dict[str, str]:
    """{role: sha256 or fingerprint} of all that `open_pipeline` would open; nothing is opened or trained."""
    hashes = FileHashes()
    files = dict(target.frozen)
    if request.checkpoint is not None:
        return {role: hashes.sha256(path) for role, path in {**files, "checkpoint": request.checkpoint}.items()}
    shipped = shipped_files(target.profile, request.ends)
    if shipped is None:
        own = {"trained": _planned(request, target)[1].fingerprint}
    else:
        own = {role: hashes.sha256(path) for role, path in zip(("t2v", SHIPPED[request.ends]), shipped, strict=True)}
    return {**{role: hashes.sha256(path) for role, path in files.items()}, **own}


def shipped_files(profile: Profile, ends: bool) -> tuple[Path, Path] | None:
    """The parent and what was trained of it: the model that comes with a profile, shown the first picture or, with
    `ends`, the last one too. None where there is none.
    """
    base, adapted = (ROOT / profile.weights.get(role, "") for role in ("t2v", SHIPPED[ends]))
    return (base, adapted) if adapted.is_file() else None


def _shipped(request: Request, target: Target) -> Pipeline | None:
    found = shipped_files(target.profile, request.ends)
    if found is None:
        return None
    model = load_adapted(*found, target.model)
    shown = "the first and the last picture" if request.ends else "the first picture"
    print(f"model: {_place(found[1])} on {_place(found[0])}: shown {shown}, comes with the project")
    return _with_frozen(model, Schedule(target.model.diffusion), target)


def _place(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _longer(profile: Profile) -> Profile:
    """A longer stage iii: shown two frames and not all, a model needs more of it to keep to them."""
    steps = LONGER * profile.stages.iii.steps
    last = profile.stages.iii.model_copy(update={"steps": steps})
    return profile.model_copy(update={"stages": profile.stages.model_copy(update={"iii": last})})


def _question(settings: Settings) -> Question:
    """Asks for one model; it is in no file."""
    return Question("animate", Path(), "", "", (Variant("model", "model", (), settings),), ())


def _train(prepared: Prepared, graph: Graph, store: Store) -> None:
    """Does the steps of a graph, as far as they are not done."""
    threads = prepared.plan.profile.execution.threads
    display = display_for(prepared.workers, quiet=False, log=None)
    engine = LocalEngine(store, prepared.workers, prepared.devices, threads, display)
    try:
        outcome = engine.run(graph)
    except Interrupted as stop:
        raise Interrupted(f"{stop}. Finished steps are kept: give the same command again to go on") from None
    if not outcome.complete:
        raise BenchError("\n".join(failures(list(graph), outcome)))


def needed(last: Step) -> Graph:
    """A step and everything that it stands on."""
    graph = Graph()

    def add(step: Step) -> None:
        for parent in step.parents:
            add(parent)
        graph.add(step)

    add(last)
    return graph


def from_checkpoint(request: Request, target: Target) -> Pipeline:
    """The networks of a user's file; nothing in it is executed.

    Raises ValueError, naming every entry that is missing, left over or misshapen, when it does not fit.
    """
    path = request.checkpoint
    assert path is not None, "callers have seen to it"
    names = open_official(path).shapes
    official = is_official(names)
    if not official and not any(name.startswith(OWN_PARTS) for name in names):
        raise ValueError(
            f"{path} is neither an official checkpoint nor a DynamiCrafter of this project; it holds "
            f"{', '.join(list(names)[:3])}, ..."
        )
    if not official and not target.frozen:
        raise ValueError(
            f"{path} holds a U-Net and a projector only; --profile {target.name} has no autoencoder and "
            "encoders of its own: give a checkpoint in the official layout, which holds them"
        )
    pipeline = _official(path, target) if official else _pipeline(path, target)
    layout = "official layout" if official else "layout of this project"
    print(f"model: {path}, {layout}, profile {target.name}, sha256 {FileHashes().sha256(path)}")
    return pipeline


def _official(path: Path, target: Target) -> Pipeline:
    """Everything out of one checkpoint, the noise schedule too."""
    released = load_released(path, target.model)
    differs = ", ".join(released.loaded.schedule_differs)
    if differs:
        print(f"note: {path} stores another noise schedule than --profile {target.name} ({differs}): it is used")
    parts = released.whole
    return Pipeline(
        parts.model, parts.autoencoder, parts.text_encoder, parts.image_encoder, released.schedule, target.sampler
    )


def _pipeline(path: Path, target: Target) -> Pipeline:
    """A model of this project with the profile's autoencoder and encoders."""
    made = load_generator(path, target.model)
    return _with_frozen(made.model, made.schedule, target)


def _with_frozen(model: DynamiCrafter, schedule: Schedule, target: Target) -> Pipeline:
    image, text = load_encoders(target.frozen["clip"], target.model.clip)
    autoencoder = load_autoencoder(target.frozen["vae"], target.model.autoencoder)
    return Pipeline(model, autoencoder, text, image, schedule, target.sampler)
