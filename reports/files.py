"""How is a file of the report written? Whole or not at all: beside its place, then renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_text(path: Path, content: str) -> None:
    """UTF-8 text; line ends as they come."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(content.encode("utf-8"))
    beside.replace(path)
