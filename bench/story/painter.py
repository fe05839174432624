"""Who draws the picture of a shot? The text-to-image model of the tiny world, or a diffusers folder of the user's.

Shapes: pictures uint8 (H, W, 3) at the size of the model that animates them. A picture belongs to (seed, shot number)
and its text. Source: the parent of stage i (DynamiCrafter, arXiv:2310.12190, section 3.3); diffusers' text-to-image
pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.animate import Target
from bench.encoded import clip_pixels
from bench.errors import BenchError, cut
from bench.fingerprint import FileHashes
from bench.model_folders import folder_digest, model_folder
from bench.parts import load_autoencoder, load_encoders, load_generator
from bench.profile import ROOT
from bench.seeding import generator, normal, torch_seed
from bench.variants import config_to_json
from datasets.clip import Frames
from datasets.files import parse_json, read_text
from datasets.transforms import fit_frame
from models.dynamicrafter import text_to_image
from models.external.system import drawn_from, library, open_pipeline
from models.pipeline import Pipeline, to_uint8
from models.schedule import Schedule

OPTION = "--image-model"
WHAT = "a folder of diffusers with a text-to-image pipeline (model_index.json, .safetensors)"
STEPS, SCALE = 30, 3.0  # of the tiny text-to-image model: sharp pictures of what the text says


class Painter(Protocol):
    """Draws pictures; `identity` is what a story records of it."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything but text and seed that decides a picture."""
        ...

    def paint(self, text: str, seed: int, number: int) -> Frames:
        """The picture (H, W, 3) of shot `number`."""
        ...


def check_folder(folder: Path) -> str | None:
    """What is wrong with the folder of an image model; None where nothing is."""
    return model_folder(OPTION, folder, "model_index.json", WHAT)


def find_painter(target: Target, folder: Path | None, device: str) -> Painter | None:
    """The user's model where there is one, else the profile's; None: nothing here can draw."""
    if folder is not None:
        return Outside(folder, target, device)
    own = ROOT / target.profile.weights.get("t2i", "")
    return TinyWorld(own, target, device) if own.is_file() and target.trains else None


@dataclass(frozen=True)
class TinyWorld:
    """The text-to-image parent of the tiny world, which knows the words of that world."""

    weights: Path
    target: Target
    device: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Painter`."""
        hashes = FileHashes()
        files = {"t2i": self.weights, **self.target.frozen}
        return {
            "model": "text-to-image parent of the tiny world",
            "sha256": {role: hashes.sha256(path) for role, path in files.items()},
            "sampler": config_to_json(self._sampler),
        }

    @property
    def _sampler(self) -> Any:
        return replace(self.target.sampler, steps=STEPS, text_scale=SCALE, image_scale=None, guidance="single")

    def paint(self, text: str, seed: int, number: int) -> Frames:
        """See `Painter`."""
        config = text_to_image(self.target.model)
        image, words = load_encoders(self.target.frozen["clip"], config.clip)
        model = load_generator(self.weights, config).model
        autoencoder = load_autoencoder(self.target.frozen["vae"], config.autoencoder)
        parts = Pipeline(model, autoencoder, words, image, Schedule(config.diffusion), self._sampler).to(self.device)
        blank = np.zeros((1, 1, config.height, config.width, 3), np.uint8)  # a place that this model never looks at
        conditions = parts.conditions(clip_pixels(blank)[:, :, 0].to(self.device), [text])
        rng = generator(seed, "story", "picture", number)
        latent = conditions.latent
        shape = (1, latent.shape[1], 1, *latent.shape[3:])
        latents = parts.sample_latents(
            conditions, None, normal(rng, shape).to(self.device), lambda step: normal(rng, shape).to(self.device)
        )
        return np.asarray(to_uint8(parts.decode(latents))[0, 0].cpu().numpy())


@dataclass(frozen=True)
class Outside:
    """A text-to-image pipeline of diffusers, from a local folder; its own size and number of steps."""

    folder: Path
    target: Target
    device: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Painter`."""
        return {"model": self._kind(), "folder": self.folder.resolve().name, "sha256": folder_digest(self.folder)}

    def paint(self, text: str, seed: int, number: int) -> Frames:
        """See `Painter`. Raises BenchError when the folder cannot be opened or gives no picture."""
        pipe = self._open()
        try:
            with drawn_from(torch_seed(seed, "story", "picture", number), "cpu") as generator:
                picture = np.asarray(pipe(prompt=text, generator=generator, output_type="np").images[0])
        except Exception as error:  # parts that do not fit together, no memory left
            raise BenchError(f"{OPTION} {self.folder}: it cannot draw ({cut(error)}). Give another") from None
        if picture.ndim != 3 or picture.shape[2] != 3 or not np.isfinite(picture).all():
            raise BenchError(f"{OPTION} {self.folder}: gave {picture.shape}; wanted a picture (h, w, 3)")
        levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
        return fit_frame(levels, self.target.model.height, self.target.model.width)

    def _kind(self) -> str:
        path = self.folder / "model_index.json"
        return str(parse_json(read_text(path), str(path)).get("_class_name"))

    def _open(self) -> Any:
        try:
            library()
            from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

            allowed = {cls.__name__ for cls in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
            if self._kind() not in allowed:
                raise ValueError(f"holds a {cut(self._kind())}, which is no text-to-image pipeline of diffusers")
            return open_pipeline(self.folder, self._kind(), self.device, self.target.profile.execution.precision)
        except ValueError as error:
            raise BenchError(f"{OPTION} {self.folder}: {error}. Give {WHAT}") from None
