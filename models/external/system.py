"""How does another image-to-video system animate a picture here? Loaded from a local folder, asked clip by clip.

    system = load(ADAPTERS["svd"], Path("stable-video-diffusion-img2vid"))
    system.sample(image, prompt, frames=16, fps=8.3, size=(256, 256), seed=0)   # uint8 (16, 256, 256, 3)

Fully offline: a folder on disk, safetensors alone, no code but the installed libraries'. Same seed, same machine: same
bytes; every draw comes from the clip's own seed, the global generator (which I2VGen-XL's image latent is drawn from)
included, and that is put back afterwards.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.external.adapter import Adapter
from models.external.canvas import Clip, Picture, cut, spread
from models.external.folder import INSTALL, check, not_installed, variant
from models.external.rules import Rules, Sampler, Size, making

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOGGERS = ("diffusers", "transformers")
MADE_UP = re.compile(r"newly initialized[^:]*: \[(.*?)\]|(\S+) +\| +(?:MISSING|MISMATCH)")  # as the libraries say it


@dataclass(frozen=True)
class System:
    """A system that can be asked: its adapter, its loaded pipeline, its rules, and how it is sampled."""

    adapter: Adapter
    pipeline: Any
    rules: Rules
    sampler: Sampler
    device: torch.device

    def sample(self, image: Picture, prompt: str, frames: int, fps: float, size: Size, seed: int) -> Clip:
        """One clip, uint8 (T, H, W, 3).

        Args:
            image: uint8 (H, W, 3): frame 0, at `size`.
            prompt: what is to happen; systems that take no text ignore it.
            frames: T.
            fps: how fast the clip's frames follow each other.
            size: (H, W).
            seed: 0 to 2**63 - 1: of everything that is drawn.

        Raises ValueError for a picture of another size, or when what was made is no picture.
        """
        if image.shape[:2] != size:
            raise ValueError(f"the picture is {image.shape[1]}x{image.shape[0]}, the clip {size[1]}x{size[0]}")
        one = making(self.rules, self.sampler, frames, fps, size)
        with drawn_from(seed, self.device) as generator, torch.inference_mode(), _heard():
            made = self.pipeline(
                image=Image.fromarray(spread(image, one)),
                height=one.size[0],
                width=one.size[1],
                num_frames=one.frames,
                num_inference_steps=self.sampler.steps or self.adapter.steps,
                generator=generator,
                output_type="np",
                **self.adapter.arguments(one, prompt),
            ).frames[0]  # (T', H', W', 3), 0 to 1
        return cut(self._bytes(made, (one.frames, *one.size, 3)), one, size)

    def reads(self, prompt: str) -> bool:
        """Whether the system reads the whole prompt, or cuts its end off; True where it reads none."""
        if not self.rules.prompt:
            return True
        tokenizer = self.pipeline.tokenizer
        limit = self.adapter.tokens or tokenizer.model_max_length
        with _heard():
            return bool(len(tokenizer(prompt).input_ids) <= limit)

    def _bytes(self, made: Any, shape: tuple[int, ...]) -> Clip:
        name, values = self.adapter.name, np.asarray(made, dtype=np.float32)
        if values.shape != shape:
            raise ValueError(f"{name} made {values.shape}, asked for {shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} made values that are no numbers: its weights or its precision do not fit")
        return (values.clip(0, 1) * 255).round().astype(np.uint8)


def load(
    adapter: Adapter,
    folder: Path,
    sampler: Sampler | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> System:
    """The system in a local folder.

    Args:
        precision: "float32", "bf16" or "fp16" of its weights.

    Raises ValueError, on one line: the folder is not that pipeline, is incomplete or pickled, or diffusers is absent.
    """
    rules = adapter.of_folder(adapter.rules, check(folder, adapter.pipeline))
    pipeline = open_pipeline(folder, adapter.pipeline, device, precision)
    return System(adapter, pipeline, rules, sampler or Sampler(), torch.device(device))


def open_pipeline(folder: Path, name: str, device: str | torch.device = "cpu", precision: str = "float32") -> Any:
    """The diffusers pipeline of class `name` in a local folder, which is checked first. Raises ValueError as `load`."""
    check(folder, name)
    kind = getattr(library(), name)
    with _heard() as said:
        try:
            pipeline = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=PRECISIONS[precision],
                variant=variant(folder),
            )
        except Exception as error:  # whatever two libraries raise over a file is one line for the user
            raise ValueError(f"{folder}: {name} cannot be loaded: {_line(error)}") from error
    made_up = [a or b for line in said for a, b in MADE_UP.findall(line)]
    if made_up:
        raise ValueError(f"{folder}: weights of {name} are missing or do not fit: {', '.join(made_up)[:200]}")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def library() -> Any:
    """diffusers, told to stay offline. Raises ValueError with what to install."""
    absent = not_installed()
    if absent:
        raise ValueError(f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed: {INSTALL}; or "
                         "give a folder of the system's videos")  # fmt: skip
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in LOGGERS:
        importlib.import_module(f"{name}.utils.logging").disable_progress_bar()
    return importlib.import_module("diffusers")


@contextlib.contextmanager
def drawn_from(seed: int, device: str | torch.device = "cpu") -> Iterator[torch.Generator]:
    """A generator of this seed, and the global ones of the same seed until the end, then as they were."""
    place = torch.device(device)
    cards = [place.index or 0] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        yield torch.Generator(place).manual_seed(seed)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What the libraries warn of, instead of on the screen."""
    listener, loggers = _Listener(), [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [listener], False
        logger.setLevel(logging.WARNING)
    try:
        yield listener.lines
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
