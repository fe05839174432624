"""Step `features`: what the measuring networks say of a set of clips, once, for every score that needs it."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from bench.metrics.extract import conformity, video_features
from bench.metrics.networks import PerceptualNet, VideoClassifier
from bench.work import Work
from datasets.procedural import MOTIONS
from models.weights import load_module

VERSION = 1


def run(work: Work) -> None:
    """Features (N, D) and conformity (N, T) of the first `count` clips, float64, with their items."""
    items = json.loads(work.file("clips", "items.json").read_text())[: work.config["count"]]
    frames = _frames(work)[: len(items)]
    inputs = _condition_frames(work, items) if items else frames[:, 0]
    classifier, perceptual = VideoClassifier(), PerceptualNet()
    load_module(classifier, work.inputs["classifier"])
    load_module(perceptual, work.inputs["perceptual"])
    batch = work.config["micro_batch"]
    features = video_features(frames, classifier.eval(), batch)
    agreement = conformity(frames, inputs, perceptual.eval(), batch)
    save_file({"features": features, "conformity": agreement}, work.out / "features.safetensors")
    (work.out / "motions.json").write_text(json.dumps(seen_motions(classifier, features)))
    (work.out / "items.json").write_text(json.dumps(items, ensure_ascii=False, indent=1))


def seen_motions(classifier: VideoClassifier, features: np.ndarray) -> list[str]:
    """Which motion the classifier sees in each clip; tells whether a clip does what its prompt asks."""
    with torch.no_grad():
        found = classifier.classify(torch.from_numpy(features).float())["motion"].argmax(1)
    return [tuple(MOTIONS)[int(k)] for k in found]


def _frames(work: Work) -> np.ndarray:
    for name in ("clips.safetensors", "frames.safetensors"):
        path = work.file("clips", name)
        if path.exists():
            return load_file(path)["frames"]
    raise ValueError(f"{work.inputs['clips']} holds no clips")


def _condition_frames(work: Work, items: list[dict[str, object]]) -> np.ndarray:
    """The input frame of each clip, by id: frame 0 of the evaluation item that has it."""
    told = json.loads(work.file("conditions", "items.json").read_text())
    place = {item["id"]: k for k, item in enumerate(told)}
    frames = load_file(work.file("conditions", "clips.safetensors"))["frames"]
    return frames[[place[item.get("condition", item["id"])] for item in items], 0]
