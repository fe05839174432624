"""The protocols themselves, a file per family."""
