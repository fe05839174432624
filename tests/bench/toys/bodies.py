"""What the toy steps leave; every body also appends its kind to the file that BENCH_TOY_LOG names."""

import json
import os
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from bench.work import Work


def begin(kind: str, work: Work) -> None:
    """Counts the call; fails or waits when the environment asks for it."""
    if log := os.environ.get("BENCH_TOY_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{kind}\n")
    if os.environ.get("BENCH_TOY_FAIL") == kind:
        raise ValueError(f"the toy step {kind} was told to fail")
    if os.environ.get("BENCH_TOY_DIE") == kind:
        os.kill(os.getpid(), 9)
    if os.environ.get("BENCH_TOY_SLOW") == kind:
        for k in range(600):
            work.progress(k, 600, "slowly")
            time.sleep(0.1)


def _json(work: Work, name: str, value: object) -> None:
    (work.out / name).write_text(json.dumps(value))


def _read(work: Work, role: str, name: str) -> list[dict[str, object]]:
    return json.loads((work.inputs[role] / name).read_text())


def _clips(work: Work, role: str) -> np.ndarray:
    folder = work.inputs[role]
    path = folder / "clips.safetensors"
    return load_file(path if path.exists() else folder / "frames.safetensors")["frames"]


def world(work: Work) -> None:
    _json(work, "world.json", work.config)


def clips(work: Work) -> None:
    count = work.config["rule"]["count"] or 4
    frames = np.random.default_rng(count).integers(0, 255, (count, 3, 8, 8, 3), dtype=np.uint8)
    save_file({"frames": frames}, work.out / "clips.safetensors")
    items = [{"id": f"v{k}", "prompt": f"<b>clip</b> {k}", "group": None, "notes": []} for k in range(count)]
    items[0]["notes"] = ["flagged corrupt: 1 of the 9 frames decoded"]
    _json(work, "items.json", items)
    _json(work, "set_aside.json", [{"id": "bad", "path": "bad.avi", "reason": "empty file (0 bytes)"}])
    _json(work, "notes.json", ["no split lists: all clips"])


def encode(work: Work) -> None:
    _json(work, "items.json", _read(work, "clips", "items.json")[: work.config["count"]])


def train(work: Work) -> None:
    line = {"loss": 0.5, "lr": 1e-3, "grad_norm": 1.0, "image_scale": {"layer": 1.0}}
    lines = [{"step": k + 1, **line} for k in range(work.config["steps"])]
    (work.out / "curve.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    (work.out / "model.safetensors").write_bytes(b"")


def sample(work: Work) -> None:
    items = _read(work, "encoded", "items.json")
    save_file({"frames": _clips(work, "clips")[: len(items)]}, work.out / "frames.safetensors")
    _json(work, "items.json", items)


def baseline(work: Work) -> None:
    count = work.config["count"]
    save_file({"frames": _clips(work, "clips")[:count]}, work.out / "frames.safetensors")
    _json(work, "items.json", _read(work, "clips", "items.json")[:count])


def alike(work: Work) -> None:
    _json(work, "alike.json", {"copied": [], "close": [], "still": [], "twins": [], "inputs": []})


def features(work: Work) -> None:
    _json(work, "items.json", _read(work, "clips", "items.json")[: work.config["count"]])


def _record(metric: str) -> dict[str, object]:
    return {
        "metric": metric, "features": "toy-net", "protocol": "toy/v1", "value": 1.5, "low": 1.0, "high": 2.0,
        "level": 0.95, "interval": "videos", "n": 4, "comparable": False, "notes": ["4 of 2048 videos"],
    }  # fmt: skip


def score(work: Work) -> None:
    _json(work, "records.json", [_record(metric) for metric in ("fvd", "kvd", "pic")])


def aggregate(work: Work) -> None:
    score(work)


def claims(work: Work) -> None:
    rest = {
        "effect": 0.5, "low": 0.1, "high": 0.9, "level": 0.95, "p": 0.01, "p_holm": 0.02, "verdict": "holds",
        "leans": "for", "n": 4, "seeds": 2, "unit": "fvd", "per_seed": [0.5, 0.5],
    }  # fmt: skip
    _json(work, "claims.json", [{**claim, **rest} for claim in work.config["claims"]])
