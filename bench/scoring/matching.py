"""Which video answers which condition? Outputs, inputs and prompts brought together by name or by a CSV file.

Names meet ids (of exported conditions, else of the reference's videos) as whole paths, then by their last part. What
fits no id is extra, ids without a video are missing; two videos of one id are refused. A CSV file with the columns
output, id and, if wanted, input and prompt says it all by hand; its paths are below the folders that they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.scoring.outputs import Output, check_unique, find_outputs, output_at, some
from datasets.files import folder, is_video, one_line, parse_csv, printable, read_text, under_root, walk
from datasets.folder import IMAGE_SUFFIXES, read_captions

COLUMNS = ("output", "id", "input", "prompt")
UNPAIRED = "unpaired/"  # before the names of videos that belong to no video of the reference


@dataclass(frozen=True)
class Item:
    """One video to score: its id, the picture it was made from (None: not known) and its prompt."""

    id: str
    output: Output
    input: Path | None = None
    prompt: str = ""


@dataclass
class Matched:
    """Videos with their ids. `paired`: ids are those of conditions or reference, else each video stands alone."""

    items: list[Item]
    paired: bool
    extra: list[str] = field(default_factory=list)  # videos that belong to no id
    missing: list[str] = field(default_factory=list)  # what a CSV file names and is not there
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Names:
    """The ids that videos may have: `ids` by each name that stands for one."""

    ids: Mapping[str, str]

    @staticmethod
    def of(ids: Iterable[str], aliases: Mapping[str, str] | None = None) -> Names:
        """Every id under its own name and its last part, where that names no other; `aliases` are more names."""
        known = list(ids)
        last: dict[str, list[str]] = {}
        for one in known:
            last.setdefault(one.rpartition("/")[2], []).append(one)
        short = {name: found[0] for name, found in last.items() if len(found) == 1}
        return Names({**short, **(aliases or {}), **{one: one for one in known}})

    def find(self, name: str) -> str | None:
        """The id that a video of this name has."""
        return self.ids.get(name) or self.ids.get(name.rpartition("/")[2])


def match_outputs(
    root: Path,
    names: Names | None = None,
    inputs: Path | None = None,
    captions: Path | None = None,
    matches: Path | None = None,
    unpaired: bool = False,
) -> Matched:
    """The videos below `root` with ids, inputs and prompts.

    Args:
        names: ids of the conditions or the reference; None: a video's id is its name.
        inputs: folder of pictures, named as the videos or their ids.
        captions: prompts by id, as `datasets.folder.read_captions` reads them.
        matches: CSV file that says which is which.
        unpaired: take every video, whatever its name, as independent of the reference.

    Raises ValueError with what came and what to do.
    """
    found = _listed(root, matches, inputs) if matches else _found(root)
    if not found.items:
        raise ValueError(f"{root}: no video there. {' '.join(found.notes)}".strip())
    paired = names is not None and not unpaired and any(names.find(item.id) for item in found.items)
    if paired and names is not None:
        found = _with_ids(root, found, names)
    elif names is not None:
        found.items = [replace(item, id=UNPAIRED + item.id) for item in found.items]
        if not unpaired:
            found.notes.append("no video is named as one of the reference: generated and real are taken as independent")
    found.paired = paired
    if inputs is not None and matches is None:
        _add_inputs(found, inputs)
    if captions is not None:
        _add_captions(found, captions)
    found.items.sort(key=lambda item: item.id)
    return found


def _found(root: Path) -> Matched:
    seen = find_outputs(root)
    check_unique(root, seen.outputs)
    notes = []
    if seen.without_output:
        notes.append(f"{len(seen.without_output)} items have an input and no output: {some(seen.without_output)}")
    if seen.odd:
        notes.append(f"{len(seen.odd)} files are no videos and were passed over: {some(seen.odd)}")
    items = [Item(output.name, output, output.input, output.prompt) for output in seen.outputs]
    return Matched(items, False, notes=notes)


def _listed(root: Path, matches: Path, inputs: Path | None) -> Matched:
    """What a CSV file lists; videos on disk that it does not name are extra."""
    found = Matched([], False)
    base = folder(inputs) if inputs is not None else root
    for where, row in read_matches(matches):
        output = output_at(root, row["output"], where)
        if output is None:
            found.missing.append(row["output"])
            continue
        given = _input_at(base, row["input"], where) if row.get("input") else output.input
        found.items.append(Item(row["id"], output, given, row.get("prompt") or output.prompt))
    _check_ids(matches, [(item.id, item.output) for item in found.items])
    used = {path for item in found.items for path in item.output.files}
    rest = [output for output in find_outputs(root).outputs if not used & set(output.files)]
    found.extra = [output.name for output in rest]
    if found.missing:
        found.notes.append(f"{len(found.missing)} videos of {matches.name} are not there: {some(found.missing)}")
    return found


def read_matches(path: Path) -> list[tuple[str, dict[str, str]]]:
    """(where, {output, id, ...}) of each line. Raises ValueError for other columns or a line that lacks a cell."""
    header, rows = parse_csv(read_text(path), str(path))
    if not {"output", "id"} <= set(header) <= set(COLUMNS) or len(set(header)) != len(header):
        raise ValueError(f"{path}: the columns are {', '.join(header) or 'none'}; wanted output, id, and if known "
                         "input and prompt")  # fmt: skip
    found = []
    for line, cells in rows:
        where = f"{path}:{line}"
        if len(cells) != len(header):
            raise ValueError(f"{where}: {len(cells)} cells, the header has {len(header)}")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        if not row["output"] or not row["id"]:
            raise ValueError(f"{where}: output and id must not be empty")
        found.append((where, row))
    return found


def _input_at(base: Path, written: str, where: str) -> Path:
    path = under_root(base, written, where)
    if not path.is_file():
        raise ValueError(f"{where}: the input {written!r} is not in {base}")
    return path


def _with_ids(root: Path, found: Matched, names: Names) -> Matched:
    known = [(names.find(item.id), item) for item in found.items]
    items = [replace(item, id=name) for name, item in known if name is not None]
    _check_ids(root, [(item.id, item.output) for item in items])
    extra = [item.output.name for name, item in known if name is None]
    return Matched(items, True, [*found.extra, *extra], found.missing, found.notes)


def _check_ids(where: Path, pairs: Sequence[tuple[str, Output]]) -> None:
    by_id: dict[str, list[str]] = {}
    for name, output in pairs:
        by_id.setdefault(name, []).append(one_line(output.name))
    twice = [f"{name!r}: {' and '.join(outputs)}" for name, outputs in by_id.items() if len(outputs) > 1]
    if twice:
        raise ValueError(
            f"{where}: {len(twice)} ids have more than one video ({some(twice, '; ')}). "
            "Keep one of each, or say which is which with --matches"
        )


def picture_names(root: Path) -> dict[str, list[Path]]:
    """Every picture or video below `root` that may be an input, by name: path without suffix, and its last part."""
    found: dict[str, list[Path]] = {}
    for path in walk(folder(root)):
        if path.suffix.lower() in IMAGE_SUFFIXES or is_video(path):
            name = printable(path.relative_to(root).with_suffix("").as_posix())
            for key in dict.fromkeys((name, name.rpartition("/")[2])):
                found.setdefault(key, []).append(path)
    return found


def _add_inputs(found: Matched, inputs: Path) -> None:
    """Pictures by the videos' ids or names; one that several pictures could be is refused."""
    pictures = picture_names(inputs)
    items, used = [], set()
    for item in found.items:
        candidates = next((pictures[n] for n in _names_of(item) if n in pictures), [])
        if len(candidates) > 1:
            both = " and ".join(one_line(str(path.relative_to(inputs))) for path in candidates)
            raise ValueError(f"{inputs}: {item.id!r} has {len(candidates)} inputs, {both}. Keep one.")
        used |= set(candidates)
        items.append(replace(item, input=candidates[0] if candidates else item.input))
    rest = sorted({path for paths in pictures.values() for path in paths} - used)
    if rest:
        told = some([one_line(str(path.relative_to(inputs))) for path in rest])
        found.notes.append(f"{len(rest)} pictures of {inputs.name} belong to no video: {told}")
    found.items = items


def _names_of(item: Item) -> list[str]:
    plain = item.id.removeprefix(UNPAIRED)
    names = (plain, item.output.name, plain.rpartition("/")[2], item.output.name.rpartition("/")[2])
    return list(dict.fromkeys(names))


def _add_captions(found: Matched, captions: Path) -> None:
    plain = {item.id.removeprefix(UNPAIRED): item.id for item in found.items}
    prompts = {plain.get(key, key): text for key, text in read_captions(captions, sorted(plain)).items()}
    found.items = [replace(item, prompt=prompts.pop(item.id, item.prompt)) for item in found.items]
    if prompts:
        told = some([one_line(name) for name in sorted(prompts)])
        found.notes.append(f"{len(prompts)} prompts of {captions.name} belong to no video: {told}")
