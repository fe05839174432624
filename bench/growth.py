"""How do time and memory grow with samples, frames, variants, artifacts? `python -m bench.growth [PART...]`.

Each row is a process of its own: processor seconds of one thread (a busy machine does not change them much) and peak
resident memory. Nothing is downloaded; features are noise, artifacts are made up in a temporary folder and removed.
`--run DIR` is a finished run, for the part `report`: its records are repeated as those of more variants.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.metrics.memory import peak

FEATURES, SEEDS = 400, 3  # of a video, as I3D has them; training seeds
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Adds processor seconds to `into`."""
    start = time.process_time()
    yield
    into[name] = round(time.process_time() - start, 3)


def samples(count: int, folder: Path) -> dict[str, float]:
    """Scoring `count` videos: one seed, three seeds, FVD against the number of videos, a claim about two variants."""
    import numpy as np

    from bench.metrics.features import Sample
    from bench.metrics.judge import decide
    from bench.metrics.records import write_curves
    from bench.protocol import Scoring
    from bench.steps.aggregate import aggregate
    from bench.steps.claims import Court
    from bench.steps.score import score

    rng, ids = np.random.default_rng(0), tuple(str(k) for k in range(count))

    def made(shift: float) -> Sample:
        features = rng.normal(shift, 1.0, (count, FEATURES))
        return Sample(features, rng.uniform(size=(count, 16)), ids, (None,) * count)

    scoring, reference = Scoring.read(protocol()), made(0.0)
    variants = {name: [made(shift) for _ in range(SEEDS)] for name, shift in (("a", 0.1), ("b", 0.2))}
    spent: dict[str, float] = {}
    with timed(spent, "score, s"):
        score(variants["a"][0], reference, scoring)
    with timed(spent, f"{SEEDS} seeds, s"):
        aggregate(variants["a"], reference, scoring)
    with timed(spent, "curve, s"):
        write_curves(folder, variants["a"], reference, scoring)
    with timed(spent, "a claim, s"):
        court = Court(variants, reference, scoring)
        decide([court.hear({"claim": "a", "metric": "fvd", "better": ["a", "b"]})])
    return spent


def protocol() -> dict[str, Any]:
    """The tiny profile's, resolved."""
    from bench.fingerprint import FileHashes
    from bench.measure import resolve_protocols
    from bench.profile import load_profile
    from bench.sources import find_sources

    profile = load_profile("tiny")
    return resolve_protocols((), profile, find_sources(profile, {}, {}, FileHashes()))[0].config


def clips(count: int, folder: Path) -> dict[str, float]:
    """The step `features` over `count` tiny clips of noise, a batch in memory at a time."""
    from bench.metrics import memory

    spent: dict[str, float] = {}
    with timed(spent, "features, s"):
        memory.step(count, folder)
    return spent


def frames(count: int, _folder: Path) -> dict[str, float]:
    """The tiny U-Net, evaluated on and trained with one clip of `count` frames."""
    from dataclasses import replace

    import torch

    from bench import speed
    from models import flops
    from models.dynamicrafter import DynamiCrafter
    from models.presets import tiny

    torch.manual_seed(0)
    base = tiny()
    model = replace(base, frames=count, projector=replace(base.projector, frames=count))
    sampler = speed.load_profile("tiny").sampling.config
    given = speed.Setting(DynamiCrafter(model).eval(), sampler, 1, "cpu", "float32")
    spent = {"GFLOP": round(flops.forward_flops(model) / 1e9, 3)}
    for name, race in (("evaluation, s", speed.forward_race(given)), ("gradients, s", speed.training_race(given))):
        race.ours()
        race.others = {}
        race.run(3, speed.clock_of("cpu"))
        spent[name] = round(race.times["ours"], 3)
    return spent


def variants(count: int, folder: Path) -> dict[str, float]:
    """Planning a question of `count` variants that share their training and differ in how they sample."""
    from bench.plan_table import plan_json, plan_text
    from bench.runner import Options, prepare
    from bench.store import Store

    rows = "".join(f"  v{k}: {{label: x, sampling.text_scale: {1 + k / 1000}}}\n" for k in range(1, count + 1))
    spec = folder / "many.yaml"
    spec.write_text(f'question: How does planning grow?\nsource: "made up"\nvariants:\n{rows}')
    spent: dict[str, float] = {}
    with timed(spent, "plan, s"):
        prepared = prepare(Options(specs=(spec,), store=folder / "store", device="cpu"))
    with timed(spent, "text, s"):
        plan_text(prepared, Store(folder / "store"))
    with timed(spent, "JSON, s"):
        plan_json(prepared, Store(folder / "store"))
    return {"steps": len(prepared.plan.graph), **spent}


def store(count: int, folder: Path) -> dict[str, float]:
    """A store of `count` artifacts of one small file, half of which a run uses."""
    from bench.housekeeping import collect, describe
    from bench.store import Store

    made, names = Store(folder / "store"), [f"{k:064x}" for k in range(count)]
    spent: dict[str, float] = {}
    with timed(spent, "write one, ms"):
        for name in names[:100]:
            temporary = made.begin(name)
            (temporary / "records.json").write_text("[]")
            made.commit("score", name, temporary, {"label": "made up"}, {})
    spent["write one, ms"] = round(10 * spent["write one, ms"], 3)
    _copies(made, names)
    made.register(folder, names[::2])
    with timed(spent, "has, s"):
        assert all(made.has("score", name) for name in names)
    with timed(spent, "check, s"):
        lines = list(describe(made))
        assert lines and made.check()[0] == count
    (folder / "plan.json").write_text(json.dumps({"steps": [{"fingerprint": name} for name in names[::2]]}))
    with timed(spent, "gc, s"):
        list(collect(made, [folder]))
    with timed(spent, "gc --unused, s"):
        told = list(collect(made, [folder], unused=True))
    assert told[-1].startswith(f"{count // 2} artifacts removed"), told[-1]
    return spent


def _copies(made: Any, names: list[str]) -> None:
    """The rest of the artifacts, put there without the syncs that make writing slow."""
    from bench.store import MANIFEST, _seal

    pattern = made.folder("score", names[0])
    manifest = json.loads((pattern / MANIFEST).read_text())
    stat = (pattern / "records.json").stat()
    for name in names[100:]:
        target = made.folder("score", name)
        target.mkdir()
        (target / "records.json").write_text("[]")
        os.utime(target / "records.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        own = {**manifest, "fingerprint": name}
        (target / MANIFEST).write_text(json.dumps({**own, "seal": _seal(own)}))


def report(count: int, folder: Path, run: Path | None = None) -> dict[str, float]:
    """The report of a run whose variants are repeated until there are `count`."""
    from reports.render import render

    assert run is not None, "main gives it"
    many = folder / "run"
    repeated(run, many, count)
    spent: dict[str, float] = {}
    with timed(spent, "report, s"):
        made = render(many)
    lines = (many / "records.jsonl").read_text().count("\n")
    return {"records": lines, **spent, "report.html, MB": round(made.html.stat().st_size / 1e6, 2)}


def repeated(run: Path, many: Path, count: int) -> None:
    """A copy of a run folder with `count` variants: the first question's, over and over, under new names."""
    shutil.copytree(run, many)
    spec = json.loads((run / "spec.json").read_text())
    question, asked = next(iter(spec["questions"].items()))
    old = list(asked["variants"])
    names = {f"{old[k % len(old)]}_{k}": old[k % len(old)] for k in range(len(old), count)}
    asked["variants"].update({new: {**asked["variants"][was], "label": new} for new, was in names.items()})
    (many / "spec.json").write_text(json.dumps(spec))
    for file in ("records.jsonl", "curves.jsonl", "extrapolation.jsonl"):
        lines = [json.loads(line) for line in (run / file).read_text().splitlines()]
        by_variant: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            if line.get("question", question) == question:
                by_variant.setdefault(str(line.get("variant")), []).append(line)
        for new, was in names.items():
            lines += [
                {**line, "variant": new, **({"label": new} if "label" in line else {})}
                for line in by_variant.get(was, [])
            ]
        (many / file).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


PARTS: dict[str, tuple[Callable[..., dict[str, float]], tuple[int, ...], str]] = {
    "samples": (samples, (64, 256, 1024, 4096), f"videos scored, {FEATURES} features each"),
    "clips": (clips, (64, 256, 1024, 4096), "clips measured, 8 x 32 x 32"),
    "frames": (frames, (8, 16, 32, 64), "frames of one clip, tiny model"),
    "variants": (variants, (8, 64, 200, 1000), "variants planned"),
    "store": (store, (1000, 10_000, 100_000), "artifacts in a store"),
    "report": (report, (8, 50, 200), "variants in a report"),
}


def measure(part: str, count: int, run: Path | None) -> dict[str, float]:
    """One row, in a process of its own."""
    command = [sys.executable, "-m", "bench.growth", part, "--count", str(count), *(["--run", str(run)] if run else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{part} {count}: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Prints a Markdown table for each part."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [all but report]")
    parser.add_argument("--count", type=int, help="this many, here, as JSON")
    parser.add_argument("--run", type=Path, help="a finished run, for the part report")
    options = parser.parse_args()
    parts = options.parts or [name for name in PARTS if name != "report" or options.run]
    unknown = [name for name in parts if name not in PARTS]
    if unknown or ("report" in parts and options.run is None):
        parser.error(f"unknown parts {unknown}" if unknown else "the part report needs --run DIR")
    if options.count is not None:
        with tempfile.TemporaryDirectory() as folder:
            more = {"run": options.run} if parts[0] == "report" else {}
            spent = PARTS[parts[0]][0](options.count, Path(folder), **more)
            print(json.dumps({**spent, "memory, MB": round(peak())}))
        return
    for part in parts:
        _table(part, options.run)


def _table(part: str, run: Path | None) -> None:
    _, counts, words = PARTS[part]
    for place, count in enumerate(counts):
        row = measure(part, count, run if part == "report" else None)
        if not place:
            print(f"\n| {words} | {' | '.join(row)} |\n{'|---' * (1 + len(row))}|")
        print(f"| {count} | {' | '.join(f'{value:g}' for value in row.values())} |", flush=True)


if __name__ == "__main__":
    main()
