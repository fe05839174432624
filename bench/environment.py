"""On what a run ran: versions, hardware, commit, command. Nothing here is part of a record; torch is not
imported.
"""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "numpy",
    "scipy",
    "av",
    "pillow",
    "safetensors",
    "einops",
    "pydantic",
    "matplotlib",
    "jinja2",
)
BITS = ("python", "torch", "numpy", "scipy", "av", "pillow", "machine", "cpu", "instructions")  # may change last bits
DETERMINISM = {
    "cpu": "the same bytes on the same processor with the same versions and threads a step, whatever the workers, the "
    "order and the interruptions; on another one the numbers differ as tests/reproducibility/README.md tells",
    "gpu": "not to the byte: kernels of a GPU may add in another order from run to run and from GPU to GPU; equal "
    "fingerprints are then equal work, not equal bytes",
}


def bits() -> dict[str, str]:
    """Everything of this machine that may change the last bits of a number, by the names of `BITS`."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cpu": cpu_name()}
    found["instructions"] = instructions()
    return {name: found.get(name) or version(name) for name in BITS}


def instructions() -> str:
    """The widest vector instructions that kernels may use; a variable of torch can ask for narrower ones."""
    if asked := os.environ.get("ATEN_CPU_CAPABILITY"):
        return asked
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return ""
    return next((name for name in ("avx512f", "avx2", "avx", "asimd") if name in flags), "")


def describe(command: str, profile: str, seeds: tuple[int, ...], device: str, workers: int) -> dict[str, Any]:
    """Everything but the times of `environment.json`."""
    packages = {name: found for name in PACKAGES if (found := version(name))}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "instructions": instructions(),
        "cores": cpu_cores(),
        "torch": packages.get("torch", ""),
        "packages": packages,
        "git_commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": command,
        "profile": profile,
        "seeds": list(seeds),
        "device": device,
        "workers": workers,
        "determinism": DETERMINISM["cpu" if device == "cpu" else "gpu"],
    }


def version(package: str) -> str:
    """The installed version of a package, "" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def moment(seconds: float) -> str:
    """A time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _git(*arguments: str) -> str:
    """What git says of the project's own repository, "" without git or repository."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def memory_mb(process: int | None = None) -> float:
    """Memory of a process now, shared pages counted in proportion (Linux); 0 where it cannot be told."""
    name = "self" if process is None else str(process)
    try:
        text = Path(f"/proc/{name}/smaps_rollup").read_text()
        line = next(line for line in text.splitlines() if line.startswith("Pss:"))
        return float(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return 0.0
