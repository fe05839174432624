"""Where does each network of a pipeline come from? A file of its own, or a released checkpoint that holds them all.

A step names one file per role; a checkpoint in the official layout may stand for "model", "vae" and "clip" alike, and
only the part that is asked for is read. Nothing in a file is executed (models/tensor_files.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.autoencoder import Autoencoder
from models.checkpoint import is_official, load_released, open_official
from models.config import AutoencoderConfig, ClipConfig, ModelConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.initialise import inherit
from models.parents import open_parent
from models.schedule import Schedule
from models.tensor_files import LazyState
from models.weights import load_state, load_tensors, uninitialised


@dataclass(frozen=True)
class Generator:
    """The trained part, and the schedule to sample with: a released checkpoint's own, where it has another."""

    model: DynamiCrafter
    schedule: Schedule
    notes: tuple[str, ...] = ()


def load_autoencoder(path: Path, config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder of a file of its own or of a checkpoint. Raises ValueError naming entries that do not fit."""
    with uninitialised():
        autoencoder = Autoencoder(config)
    load_state(autoencoder, open_parent(path, "vae", ModelConfig(autoencoder=config)).state, str(path))
    return autoencoder.eval()


def load_encoders(path: Path, config: ClipConfig) -> tuple[ImageEncoder, TextEncoder]:
    """CLIP's towers of an OpenCLIP file or of a checkpoint. Raises ValueError naming entries that do not fit."""
    with uninitialised():
        image, text = ImageEncoder(config), TextEncoder(config)
    state = open_parent(path, "clip", ModelConfig(clip=config)).state
    load_state(image, image.weights_from(state), str(path))
    load_state(text, text.weights_from(state), str(path))
    return image.eval(), text.eval()


def load_generator(path: Path, config: ModelConfig) -> Generator:
    """U-Net and projector of this project's layout or of a checkpoint, whose whole list of entries must fit.

    Raises ValueError naming every entry that is missing, left over or of another shape, or the released size that a
    checkpoint is of when that is another one.
    """
    state = open_official(path)
    if not is_official(state.shapes):
        with uninitialised():
            model = DynamiCrafter(config)
        load_state(model, LazyState(state), str(path))
        return Generator(model.eval(), Schedule(config.diffusion))
    released = load_released(path, config, parts=("model",))
    trained = released.modules["model"]
    assert isinstance(trained, DynamiCrafter)
    differs = ", ".join(released.loaded.schedule_differs)
    words = f"{path.name} stores another noise schedule than the profile's ({differs}): sampled with its own"
    return Generator(trained, released.schedule, (words,) if differs else ())


def load_adapted(base: Path, adapted: Path, config: ModelConfig) -> DynamiCrafter:
    """A model out of two files of this project: its parent, and what a last stage trained of it.

    Raises ValueError when a tensor has no place in the model, or a parameter is in neither file.
    """
    with uninitialised():
        model = DynamiCrafter(config)
    new = set(inherit(model, load_tensors(base)).new)
    new -= set(inherit(model, load_tensors(adapted)).loaded)
    if new:
        raise ValueError(f"{adapted} and {base} lack {len(new)} parameters of the model, as {min(new)}")
    return model.eval()


def check_checkpoint(path: Path, config: ModelConfig) -> None:
    """Raises ValueError unless the file is a released checkpoint of exactly this configuration; reads names alone."""
    state = open_official(path)
    if not is_official(state.shapes):
        held = ", ".join(list(state.shapes)[:3])
        raise ValueError(f"{path} is no checkpoint in the official layout: it holds {held}, ...")
    load_released(path, config, parts=())
