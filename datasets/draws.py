"""Which random numbers belong to which video? Those hashed from (seed, data set, id): order never matters.

Source: SHA-256 of the JSON list of names; numpy's PCG64 seeded by the digest.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def digest(seed: int, *names: str | int) -> bytes:
    """32 bytes that depend on the seed and on every name, and on nothing else."""
    return hashlib.sha256(json.dumps([seed, *names]).encode("ascii")).digest()


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator of its own for (seed, names), e.g. `generator(0, "ucf101", video_id, "start")`."""
    return np.random.default_rng(np.frombuffer(digest(seed, *names), dtype="<u4"))
