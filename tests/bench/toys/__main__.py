"""`python -m tests.bench.toys run ...`: the command line with toy steps, for tests that need a process of
its own.
"""

import sys

from bench import graph
from bench.cli import main

KINDS = (
    "world",
    "clips",
    "encode",
    "train",
    "sample",
    "baseline",
    "alike",
    "features",
    "score",
    "aggregate",
    "claims",
)

if __name__ == "__main__":
    for kind in KINDS:
        graph.register_kind(kind, f"tests.bench.toys.{kind}")
    sys.exit(main(sys.argv[1:]))
