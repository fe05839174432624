"""Is a folder a pipeline that may be loaded? Read by hand before any library opens it.

Layout: model_index.json {_class_name, <part>: [library, class]}, and a folder for each part with its config and, where
it has weights, safetensors. Refused: another pipeline, a part from another library or with code of its own (Python
files, `auto_map`), weights that are pickled or not there. Nothing outside these files is read.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.external.adapter import Adapter, Json
from models.external.rules import Rules

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
INSTALL = "pip install -e '.[systems]'"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
READ = (".json", ".txt", ".model", ".safetensors")  # what a loader reads: configs, vocabularies, weights
MAX_JSON = 64 << 20  # bytes; the largest known are tokenizers of 17 MB
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def not_installed() -> list[str]:
    """The libraries that are not there."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is None]


def is_pipeline(folder: Path) -> bool:
    """Whether a folder says that it is a pipeline of diffusers."""
    return (folder / INDEX).is_file()


def check(folder: Path, pipeline: str) -> dict[str, Json]:
    """The config.json of each part that has one; `pipeline` is the class that the folder must hold.

    Raises ValueError, on one line, with what is wrong and what to do.
    """
    index = _index(folder, pipeline)
    parts = {name: _part(folder, name, said) for name, said in index.items() if _is_part(said)}
    for path in files(folder, parts):
        if path.suffix == ".json" and path.parent != folder and "auto_map" in _json(path):
            raise ValueError(f"{path}: the part brings code of its own ('auto_map'), which is never run")
    return {name: config for name, config in parts.items() if config}


def rules_of(folder: Path, adapter: Adapter) -> Rules:
    """The rules of this very checkpoint. Raises ValueError as `check` does."""
    return adapter.of_folder(adapter.rules, check(folder, adapter.pipeline))


def files(folder: Path, parts: Mapping[str, Any] | None = None) -> list[Path]:
    """What a loader reads of a pipeline folder, sorted: its index, and its parts' configs, vocabularies and weights."""
    names = parts if parts is not None else [n for n, said in _json(folder / INDEX).items() if _is_part(said)]
    found = [path for name in names for path in (folder / name).glob("*") if path.suffix in READ and path.is_file()]
    return sorted([folder / INDEX, *found])


def variant(folder: Path) -> str | None:
    """The suffix of half-precision files, "fp16", where weights are there in that precision alone."""
    weights = [path.name for path in files(folder) if path.suffix == ".safetensors"]
    halves = [name for name in weights if ".fp16." in name]
    return "fp16" if halves and len(halves) == len(weights) else None


def _index(folder: Path, pipeline: str) -> Json:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder")
    if not is_pipeline(folder):
        raise ValueError(f"{folder}: no {INDEX} in it: give the folder of a {pipeline} as diffusers saves it")
    index = _json(folder / INDEX)
    given = index.get("_class_name")
    if given != pipeline:
        raise ValueError(f"{folder / INDEX}: the folder holds a {str(given)[:80]!r}, wanted is a {pipeline}")
    code = sorted(path.name for path in folder.rglob("*.py"))
    if code:
        raise ValueError(f"{folder}: it brings code of its own ({code[0]}), which is never run: take Python files away")
    return index


def _is_part(said: object) -> bool:
    """[library, class] of a part; [None, None] is a part that this pipeline does without."""
    return isinstance(said, list) and len(said) == 2 and said != [None, None]


def _part(folder: Path, name: str, said: list[Any]) -> Json:
    """The config of a part that has weights, {} for others."""
    library, kind = said
    if not NAME.fullmatch(name) or library not in LIBRARIES or not NAME.fullmatch(str(kind)):
        raise ValueError(f"{folder / INDEX}: the part {name[:80]!r} is {str(said)[:120]}; allowed are classes of "
                         f"{' and '.join(LIBRARIES)}")  # fmt: skip
    own = folder / name
    if not own.is_dir():
        raise ValueError(f"{own}: the part's folder is missing")
    config = own / "config.json"
    if not config.is_file():
        if any((own / other).is_file() for other in _configs(own)):
            return {}
        raise ValueError(f"{config}: the file is missing")
    _check_weights(own)
    return _json(config)


def _configs(own: Path) -> Iterator[str]:
    """Files that say what a part without weights is."""
    yield from ("scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json", "tokenizer.json")


def _check_weights(own: Path) -> None:
    """Weights are there, whole, as safetensors."""
    indexes = [path for path in own.glob("*.safetensors.index.json") if path.is_file()]
    shards = {str(name) for path in indexes for name in dict(_json(path).get("weight_map", {})).values()}
    odd = [name for name in shards if Path(name).name != name]
    if odd:
        raise ValueError(f"{indexes[0]}: a shard is called {odd[0][:80]!r}, which is no name of a file beside it")
    absent = sorted(name for name in shards if not (own / name).is_file())
    if absent:
        raise ValueError(f"{own}: {len(absent)} of {len(shards)} shards are missing: {absent[0]}")
    if any(path.is_file() for path in own.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in own.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise ValueError(f"{own / pickled[0]}: pickled weights are never opened: get them as .safetensors, or save the "
                         "pipeline with safe_serialization=True")  # fmt: skip
    raise ValueError(f"{own}: its weights are missing (no .safetensors)")


def _json(path: Path) -> Json:
    """A JSON object of a file. Raises ValueError with the path."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"{path.stat().st_size} bytes, {MAX_JSON} at most")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON that can be read: {str(error)[:120]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: no JSON object")
    return found
