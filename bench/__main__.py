"""`python -m bench`: makes sure that this is the project's own code and offline, then hands over to the
command line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


def main() -> int:
    """Runs the command line; returns its exit code."""
    os.environ.update(OFFLINE)
    if sys.path[:1] != [str(ROOT)]:
        sys.path.insert(0, str(ROOT))
    import datasets

    if not getattr(datasets, "IS_I2V_BENCH", False):
        print(
            f"The package `datasets` came from {datasets.__file__}, not from this project: Hugging Face's "
            f"has the same name. Run from {ROOT} as `python -m bench`.",
            file=sys.stderr,
        )
        return 2
    from bench.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:  # before any command was understood
        code = 130
    sys.exit(code)
