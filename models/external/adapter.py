"""What does one system need to be asked for a clip through diffusers? An adapter says it; nothing is imported here.

An adapter is one short file: which pipeline, by which rules, and the words of its call that are not everybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.external.rules import Making, Rules

Json = Mapping[str, Any]


def as_they_are(rules: Rules, configs: Mapping[str, Json]) -> Rules:
    """The rules of a system all of whose checkpoints obey the same."""
    return rules


@dataclass(frozen=True)
class Adapter:
    """One system.

    Args:
        name: as specs and `--system` call it.
        label: as tables call it.
        pipeline: class of diffusers that a folder must hold.
        rules: which clips it makes.
        steps: denoising steps of its own default.
        words: arguments of the call that are fixed; they are part of a fingerprint.
        rate: the argument that takes frames per second; "" where there is none.
        tokens: of a prompt that the call reads; None: as many as its tokenizer says.
        notes: what a reader of its numbers must know.
        of_folder: rules of one checkpoint, from the config.json of its parts.
    """

    name: str
    label: str
    pipeline: str
    rules: Rules
    steps: int
    words: Json
    rate: str = ""
    tokens: int | None = None
    notes: tuple[str, ...] = ()
    of_folder: Callable[[Rules, Mapping[str, Json]], Rules] = as_they_are

    def arguments(self, one: Making, prompt: str) -> dict[str, Any]:
        """The words of one call that are not everybody's."""
        asked: dict[str, Any] = {"prompt": prompt} if self.rules.prompt else {}
        return {**self.words, **asked, **({self.rate: one.fps} if self.rate else {})}
