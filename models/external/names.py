"""What are the systems called, that specs and `--system` name?

Any name may be given, of a system that nobody here has heard of too: its videos are scored. A name that is nearly a
known one is a slip of the pen.
"""

from __future__ import annotations

import difflib
import re

from models.external.table import ADAPTERS

VIDEOS_ALONE = {  # systems of the paper that no pipeline of diffusers runs -> as tables call them
    "videocomposer": "VideoComposer",
    "pikalabs": "PikaLabs",
    "gen-2": "Gen-2",
}
KNOWN = (*VIDEOS_ALONE, *ADAPTERS)
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
NEAR = 0.75  # how alike a name is to a known one before it is taken for a slip


def name_problem(name: str) -> str | None:
    """What is wrong with a system's name; None for nothing."""
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=NEAR)
    if near and name not in KNOWN:
        return f"Did you mean '{near[0]}'?"
    if not NAME.fullmatch(name):
        return f"Allowed are small letters, digits, '.' and '-', 40 at most. Known: {', '.join(KNOWN)}."
    return None


def label_of(name: str) -> str:
    """As tables call a system."""
    return ADAPTERS[name].label if name in ADAPTERS else VIDEOS_ALONE.get(name, name)
