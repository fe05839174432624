"""What `bench check` prints: a line per missing, odd or damaged file, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.environment import cpu_cores
from bench.errors import UsageError
from bench.fingerprint import sha256_file
from bench.sources import assignments

READERS = ("ucf101", "msrvtt", "webvid", "folder", "shards")
OFFICIAL_PARTS = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.",
    "embedder.",
    "image_proj_model.",
)


def check_data(sources: Sequence[str], say: Callable[[str], None]) -> int:
    """Looks at every video of each NAME=DIR. Returns 1 if something is missing, unreadable or damaged, else
    0.

    Raises UsageError for a name or folder that does not exist.
    """
    from datasets.inspect import inspect_data

    found = assignments("check data", sources, READERS)
    absent = [f"check data {name}={root}: there is no such folder" for name, root in found.items() if not root.is_dir()]
    if absent:
        raise UsageError(absent)
    sound = True
    for name, root in found.items():
        try:
            if name == "shards":
                sound = check_shards(root, say) and sound
                continue
            result = inspect_data(name, root, say, workers=cpu_cores())
        except ValueError as error:
            say(f"{name} {root}: {error}")
            sound = False
            continue
        sound = sound and result.sound
    return 0 if sound else 1


def check_shards(root: Path, say: Callable[[str], None]) -> bool:
    """Reads every tar of a folder of shards to its end: whether each is what the manifest says. Raises ValueError."""
    from datasets.shards import read_samples, read_shards

    shards, bad = read_shards(root), 0
    for shard in shards.shards:
        try:
            for _ in read_samples(shards, shard):
                pass
        except ValueError as error:
            say(f"damaged    {shard.name}: {error}")
            bad += 1
    for note in shards.notes:
        say(f"note       {note}")
    say(f"{len(shards)} videos in {len(shards.shards)} shards: {bad} damaged")
    return not bad


def check_weights(files: Sequence[Path], say: Callable[[str], None]) -> int:
    """Opens every file of weights. Returns 1 if one cannot be read or has something missing, odd or left
    over.
    """
    good = True
    for path in files:
        try:
            problems = describe_weights(path, say)
        except (ValueError, OSError) as error:
            problems = [str(error)]
        for problem in problems:
            say(f"FAIL {path}: {problem}")
        good = good and not problems
    return 0 if good else 1


def describe_weights(path: Path, say: Callable[[str], None]) -> list[str]:
    """Says what a file holds; returns what is wrong with it. Raises ValueError when it cannot be read."""
    from bench.metrics.convert import describe_measuring
    from bench.metrics.state_files import is_archive
    from bench.weight_files import describe, first_of, not_numbers
    from models.tensor_files import open_official

    state = None if path.is_dir() or is_archive(path) else open_official(path)
    found = describe(state) if state is not None else None
    measuring = describe_measuring(path) if found is None or found.layout == "unknown" else None
    if measuring is not None or state is None or found is None:
        say("\n".join(f"ok {path}: {line}" for line in measuring or []))
        return [] if measuring else ["no weights that are known here"]
    problems = [*first_of(found.problems), *first_of(not_numbers(state))]
    say(f"{'' if problems else 'ok '}{path}: {'; '.join(found.words)}, sha256 {sha256_file(path)}")
    for line in (*state.notes, *card_lines(path)):
        say(f"   {line}")
    return problems


def card_lines(path: Path) -> list[str]:
    """What travels with our own files."""
    from models.weights import read_card

    card = read_card(path) if path.suffix == ".safetensors" else {}
    return [f"{key}: {value}" for key, value in sorted(card.items())]
