"""Toy step `clips`."""

from bench.work import Work
from tests.bench.toys import bodies

VERSION = 1


def run(work: Work) -> None:
    """Leaves what the real step leaves, in miniature."""
    bodies.begin("clips", work)
    bodies.clips(work)
