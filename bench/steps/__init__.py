"""Step bodies: one file per kind of step, each with `VERSION` and `run(work)`."""
