"""Which videos did a system make? A folder of files, of picture folders or of items -> outputs with input and prompt.

Layouts, also mixed, anywhere below the root:
    <name>.mp4 (avi, gif, webm, mov, mkv, ...)      a video; its prompt may be beside it in <name>.txt
    <name>/0001.png, <name>/0002.png, ...           a video as numbered pictures (png, jpg, webp, bmp)
    <name>/output.* or <name>/output/0001.png ...   an item: with input.* (a picture or a video) and prompt.txt
A name is the path below the root without its suffix, an item's the path of its folder. Nothing is opened here but
prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from datasets.files import folder, is_video, one_line, printable, read_text, under_root, walk
from datasets.folder import IMAGE_SUFFIXES

MAX_FILES = 500_000  # below one root: 2048 videos of 240 pictures each
MAX_PICTURES = 20_000  # of one video
MAX_PROMPT = 20_000  # bytes of one prompt file
NAMED = 5  # things that a message names; the rest is counted
TEXTS = frozenset((".txt", ".json", ".csv", ".md", ".yaml", ".yml"))  # no videos, and no surprise beside them
_NUMBER = re.compile(r"(\d+)(?!.*\d)")  # the last number in a name


@dataclass(frozen=True)
class Output:
    """One video of a system: `path` is its file, or the folder whose `pictures` are its frames in order."""

    name: str
    path: Path
    pictures: tuple[Path, ...] = ()
    input: Path | None = None
    prompt: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that the video is read from."""
        return self.pictures or (self.path,)


@dataclass
class Found:
    """What is below a root: outputs by name, items without one, files that belong to no layout."""

    outputs: list[Output] = field(default_factory=list)
    without_output: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def find_outputs(root: Path) -> Found:
    """Every output below `root`, sorted by name.

    Raises ValueError when the root is no folder or holds too many files, or an item has two inputs.
    """
    folders = _by_folder(folder(root))
    found = Found()
    for here, files in sorted(folders.items()):
        if here.name == "output" and here.parent in folders and numbered(files):
            continue  # the frames of an item, looked at with the item
        outputs, inputs = outputs_in(root, here, files, folders.get(here / "output", ()))
        found.outputs += outputs
        if inputs and not outputs:
            found.without_output.append(_name(root, here))
        used = {path for output in outputs for path in output.files} | set(inputs)
        odd = [path for path in files if path not in used and path.suffix.lower() not in TEXTS]
        found.odd += [one_line(str(path.relative_to(root))) for path in odd]
    found.outputs.sort(key=lambda output: output.name)
    return found


def _by_folder(root: Path) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for count, path in enumerate(walk(root), 1):
        if count > MAX_FILES:
            raise ValueError(f"{root} holds more than {MAX_FILES} files: give the folder of the videos alone")
        folders.setdefault(path.parent, []).append(path)
        if path.parent.name == "output" and path.parent != root:
            folders.setdefault(path.parent.parent, [])  # an item may hold nothing but its frames
    return folders


def outputs_in(
    root: Path, here: Path, files: Sequence[Path], frames: Sequence[Path] = ()
) -> tuple[list[Output], list[Path]]:
    """(outputs, input files) of one folder; `frames` are the files of its folder `output`."""
    inputs = [path for path in files if path.stem == "input" and (_is_picture(path) or is_video(path))]
    videos = [path for path in files if is_video(path) and path not in inputs]
    pictures = () if videos else numbered(path for path in files if path not in inputs)
    of_item = numbered(frames)
    name, given = _name(root, here), _one_input(root, inputs)
    prompt = _prompt(here / "prompt.txt")
    outputs = [Output(name, path, (), given, prompt) for path in videos if path.stem == "output"]
    if of_item:
        outputs.append(Output(name, here / "output", of_item, given, prompt))
    if pictures:
        outputs.append(Output(name, here, pictures, given, prompt or _prompt(here.with_name(f"{here.name}.txt"))))
    for path in videos:
        if path.stem != "output":
            stem = printable(path.relative_to(root).with_suffix("").as_posix())
            outputs.append(Output(stem, path, (), None, _prompt(path.with_suffix(".txt"))))
    return outputs, inputs


def output_at(root: Path, written: str, where: str) -> Output | None:
    """The output that a list names by its path below the root: a file, a folder of pictures or an item.

    None when it is not there. Raises ValueError when the path leaves the root or the folder holds several outputs.
    """
    path = under_root(root, written, where)
    if path.is_file() and is_video(path):
        return Output(printable(path.relative_to(root).with_suffix("").as_posix()), path)
    if not path.is_dir():
        return None
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    frames = sorted((path / "output").iterdir()) if (path / "output").is_dir() else []
    outputs, _ = outputs_in(root, path, files, frames)
    if len(outputs) > 1:
        raise ValueError(f"{where}: {written!r} holds {len(outputs)} videos; name one of them")
    return outputs[0] if outputs else None


def _name(root: Path, here: Path) -> str:
    return printable(here.relative_to(root).as_posix() if here != root else root.resolve().name)


def _one_input(root: Path, inputs: Sequence[Path]) -> Path | None:
    if len(inputs) > 1:
        both = " and ".join(one_line(str(path.relative_to(root))) for path in inputs)
        raise ValueError(f"{root}: an item has {len(inputs)} inputs, {both}. Keep one.")
    return inputs[0] if inputs else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def numbered(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Pictures whose names end in different numbers, two or more, in the order of the numbers; () for anything else.

    Raises ValueError beyond MAX_PICTURES.
    """
    numbers = {path: number(path) for path in paths if _is_picture(path)}
    known = {value for value in numbers.values() if value is not None}
    if len(numbers) < 2 or len(known) != len(numbers):
        return ()
    if len(numbers) > MAX_PICTURES:
        first = next(iter(numbers))
        raise ValueError(f"{first.parent}: {len(numbers)} pictures; a video has {MAX_PICTURES} at most")
    return tuple(sorted(numbers, key=lambda path: numbers[path] or 0))


def number(path: Path) -> int | None:
    """The last number in a file's stem, 17 of `frame_0017`; None without one."""
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match and len(match[1]) <= 18 else None


def gap(names: Sequence[str]) -> str:
    """What is missing among numbered pictures, in words; '' when their numbers are evenly spaced."""
    numbers = [number(Path(name)) or 0 for name in names]
    steps = [b - a for a, b in pairwise(numbers)]
    usual = min(steps, default=1)
    odd = next((k for k, step in enumerate(steps) if step != usual), None)
    return "" if odd is None else f"pictures are missing between {names[odd]} and {names[odd + 1]}"


def _prompt(path: Path) -> str:
    """The text of a prompt file on one line, '' without one. Raises ValueError for a file that is no short text."""
    if not path.is_file():
        return ""
    if path.stat().st_size > MAX_PROMPT:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; a prompt has {MAX_PROMPT} at most")
    return " ".join(read_text(path).split())


def check_unique(root: Path, outputs: Sequence[Output]) -> None:
    """Raises ValueError when two files are one video (`a.mp4` and `a.gif`), naming them."""
    by_name: dict[str, list[Output]] = {}
    for output in outputs:
        by_name.setdefault(output.name, []).append(output)
    twice = [" and ".join(one_line(str(o.path.relative_to(root))) for o in s) for s in by_name.values() if len(s) > 1]
    if twice:
        raise ValueError(
            f"{root}: {len(twice)} videos are there twice: {some(twice, '; ')}. "
            "Keep one of each, or name the right ones with --matches"
        )


def some(names: Sequence[str], between: str = ", ") -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return between.join(names[:NAMED]) + more
