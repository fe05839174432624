"""Step bodies that do next to nothing, for tests of the harness: same files, no network, no torch."""
