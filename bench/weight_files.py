"""What is in a file of weights, which model does it fit, and what is wrong with it?

Answers `bench check weights` and stands before `bench convert`. A file is known by the names of its entries; nothing
in it is run, and no more than one tensor of it is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from torch import Tensor

from models import presets
from models.checkpoint import check_official, fitting, key_list, misfits, outline, problems
from models.config import ModelConfig
from models.parents import DYNAMICRAFTER, OPENCLIP, STABLE_DIFFUSION, VAE, VIDEOCRAFTER, layout_of, parent_of
from models.tensor_files import OfficialState

SHOWN = 40  # problems that are printed; a file of another kind has thousands
ROLES = {  # layout: what it may be given as
    STABLE_DIFFUSION: ("t2i", "vae"),
    VIDEOCRAFTER: ("t2v", "vae"),
    OPENCLIP: ("clip",),
    VAE: ("vae",),
}


@dataclass(frozen=True)
class Found:
    """A file as found: lines about it, and what is wrong with it ([]: nothing)."""

    layout: str
    words: list[str]
    problems: list[str] = field(default_factory=list)


def describe(state: OfficialState, config: ModelConfig | None = None) -> Found:
    """What the tensors of a file are, and whether they fit: a model of `config`, or (None) a released size."""
    layout = layout_of(state.shapes)
    if layout == DYNAMICRAFTER and config is not None:
        words = [f"a DynamiCrafter checkpoint in the official layout, {size(state)}"]
        return Found(layout, words, misfits(state, outline(config)))
    if layout == DYNAMICRAFTER:
        return _released(state)
    if layout in ROLES:
        return _parent(state, layout, config)
    return Found(layout, [size(state)])


def first_of(lines: list[str]) -> Iterator[str]:
    """The first SHOWN lines, and how many more there are."""
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"... and {len(lines) - SHOWN} more"


def size(state: OfficialState) -> str:
    """ "2535 entries, 2609.14 M values, float32" """
    count = sum(prod(shape) for shape in state.shapes.values())
    kinds = Counter(str(dtype).removeprefix("torch.") for dtype in state.dtypes.values())
    return f"{len(state.shapes)} entries, {count / 1e6:.2f} M values, {' and '.join(sorted(kinds))}"


def not_numbers(state: OfficialState) -> list[str]:
    """A line per entry that holds NaN or infinity."""
    return [f"{name} holds values that are no numbers" for name in state.shapes if not finite(state.get(name))]


def finite(tensor: Tensor) -> bool:
    """Whether every value is a number."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _released(state: OfficialState) -> Found:
    """A checkpoint in the layout of the released ones."""
    words = [f"a DynamiCrafter checkpoint in the official layout, {size(state)}"]
    fits = fitting(state)
    if fits:
        return Found(DYNAMICRAFTER, [*words, f"it fits {' and '.join(fits)}"])
    nearest = "256" if any(name.endswith(".alpha") for name in state.shapes) else "512"
    wrong = check_official(state)
    if wrong and all(" has shape " in line for line in problems(state.shapes, key_list(nearest))):
        words.append(f"it has the entries of the released {nearest}, but other sizes")
    return Found(DYNAMICRAFTER, words, wrong or ["scale_arr: the dynamic rescale of no released size"])


def _parent(state: OfficialState, layout: str, config: ModelConfig | None) -> Found:
    """A file that training may start from, in every role that it can have."""
    words = [f"layout: {layout}, {size(state)}"]
    wrong: list[str] = []
    for role in ROLES[layout]:
        try:
            parent = parent_of(state, role, config or presets.dynamicrafter_256())
        except ValueError as error:
            wrong += str(error).splitlines()
            continue
        anew = f"; {len(parent.new)} tensors of that model are not in it and start anew" if parent.new else ""
        words.append(f"it fits as --weights {role}= {'here' if config else 'of the released sizes'}{anew}")
    of_any_size = config is None and layout in (VAE, OPENCLIP)  # as the project's own: a profile says if they fit
    return Found(layout, words, [] if of_any_size else wrong)
