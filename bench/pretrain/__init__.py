"""Trains the tiny world's priors again, as shipped: `python -m bench pretrain [NAME...]`.

Each prior is one safetensors file under `weights/tiny` with its card in the header and beside it as Markdown. The
measuring networks come first and are never touched again (`classifier`, `perceptual`), then what generators stand on
(`vae`, `clip`), the parents (`t2i`, `t2v`), P after stage i, one file per kind of stage i, and whole last
stages that `animate` and `story` use as they are (`animation`, `interpolation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def pretrain(names: Sequence[str] = (), log: Callable[[str], None] = print) -> list[Path]:
    """Trains the named priors (all of them, in order, when none is named) and returns their files.

    Raises ValueError for an unknown name, before anything is trained.
    """
    from bench.pretrain.priors import PRIORS, make

    unknown = [name for name in names if name not in PRIORS]
    if unknown:
        raise ValueError(f"no prior is called {', '.join(unknown)}. Known: {', '.join(PRIORS)}.")
    return [make(name, log) for name in (names or PRIORS)]
