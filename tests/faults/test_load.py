"""Many samples in flat memory, many variants planned at once."""

import itertools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bench.profile import model_preset
from bench.store import Store
from bench.variants import ALLOWED, impossible, settings_from

ROOT = Path(__file__).resolve().parents[2]
FEW, MANY = 2_000, 20_000
COPIES = 20  # of the features (N, 64) float64 that scoring may hold at once: each video's influence needs a few
FLAT = COPIES * 64 * 8 * (MANY - FEW) / 1e6  # MB more; the frames of both sets would be five times as much
PLANNED = 5.0  # CPU seconds for a thousand variants


def measured(folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.faults.load", str(count), str(folder / str(count))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_twenty_thousand_samples_are_scored_in_the_memory_of_two_thousand(tmp_path: Path) -> None:
    few, many = measured(tmp_path, FEW), measured(tmp_path, MANY)
    print(few, many)
    assert many["peak_mb"] - few["peak_mb"] < FLAT, (few, many)


def thousand_variants(folder: Path) -> Path:
    """The first thousand combinations of the switches of model and training that can be built."""
    model, found = model_preset("smoke"), {}
    switches = {key: (None, *values) for key, values in ALLOWED.items() if key.startswith(("model.", "train."))}
    for values in itertools.product(*switches.values()):
        overrides = {key: value for key, value in zip(switches, values, strict=True) if value is not None}
        settings = settings_from(overrides)
        if not impossible(settings, model):
            found.setdefault(settings, overrides)
        if len(found) == 1000:
            break
    text = 'question: How many?\nsource: "a test"\nvariants:\n'
    for k, overrides in enumerate(found.values()):
        told = "".join(f", {key}: {json.dumps(value)}" for key, value in overrides.items())
        text += f'  v{k}: {{label: "v{k}"{told}}}\n'
    path = folder / "many.yaml"
    path.write_text(text)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["0", "0,1,2"])
def test_a_thousand_variants_are_planned_in_five_seconds(tmp_path: Path, seeds: str) -> None:
    spec = thousand_variants(tmp_path)
    assert spec.read_text().count("label:") == 1000
    command = [sys.executable, "-m", "bench", "plan", str(spec), "--profile", "smoke", "--seeds", seeds]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--store", str(tmp_path / "store")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{seconds:.2f} CPU seconds: {done.stdout.splitlines()[-1]}")
    assert seconds < PLANNED


def test_asking_a_store_for_thousands_of_artifacts_is_cheap(tmp_path: Path) -> None:
    """A plan asks for each of its steps; nothing is hashed for it."""
    store, names = Store(tmp_path), [f"{k:064x}" for k in range(200)]
    for name in names:
        temporary = store.begin(name)
        (temporary / "a.safetensors").write_bytes(bytes(10_000))
        store.commit("toy", name, temporary, {"config": {"k": list(range(30))}}, {"seconds": 1.0})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert all(store.has("toy", name) for name in names for _ in range(5))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1.0, "more than a millisecond each"
