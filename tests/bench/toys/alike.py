"""Toy step `alike`."""

from bench.work import Work
from tests.bench.toys import bodies

VERSION = 1


def run(work: Work) -> None:
    """Leaves what the real step leaves, in miniature."""
    bodies.begin("alike", work)
    bodies.alike(work)
