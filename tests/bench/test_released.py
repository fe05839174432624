"""A released checkpoint is sampled and scored, not trained; without one the tiny model stands in, and says so."""

import importlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

from bench.animate_models import needed
from bench.cli import main
from bench.errors import UsageError
from bench.fingerprint import sha256_file
from bench.graph import File
from bench.profile import ROOT
from bench.runner import Options, prepare
from bench.steps.encode import ClipEncoder, told
from bench.steps.sample import sample_batch
from bench.work import Work
from datasets.world import WorldConfig, write_world
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Modules, official_state, to_official, unused_entries
from models.config import ModelConfig, SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.pipeline import Pipeline
from models.schedule import Schedule

SPEC = str(ROOT / "ablations" / "released.yaml")
PROFILE = f"""\
description: "a released model in miniature: no world, bring data and weights"
clip: {{frames: 8, frame_stride: 3, train_strides: [3], height: 32, width: 32}}
model: MODEL
weights:
  classifier: {ROOT}/weights/tiny/classifier.safetensors
  perceptual: {ROOT}/weights/tiny/perceptual.safetensors
stages:
  i: {{steps: 2}}
  ii: {{steps: 2}}
  iii: {{steps: 2}}
  batch: 4
  micro_batch: 4
  learning_rate: 1.0e-3
sampling: {{steps: 2, spacing: uniform_trailing, guidance: single, text_scale: 2.0, guidance_rescale: 0.7, batch: 2}}
protocol: tiny/v1
samples: 3
seeds: [0]
previews: 1
"""
SAMPLER = SamplerConfig(steps=2, spacing="uniform_trailing", text_scale=2.0, guidance_rescale=0.7)


def fps_model() -> ModelConfig:
    """As the 512 model where it differs from the tiny one: lambda fixed, frames per second, rescaled latents."""
    tiny = presets.tiny()
    return replace(
        tiny,
        unet=replace(tiny.unet, image_stream="fixed", default_fps=24),
        diffusion=replace(tiny.diffusion, dynamic_rescale=0.7),
        frame_rate="fps",
        per_frame_encoding=True,
    )


def interpolation_model() -> ModelConfig:
    """As the interpolation model: shown the first and the last frame."""
    return replace(fps_model(), visual_detail_guidance="first_and_last")


def modules(config: ModelConfig) -> Modules:
    """All four parts, drawn at random, no layer the identity."""
    torch.manual_seed(0)
    model = DynamiCrafter(config)
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.05)
    parts = Modules(model, Autoencoder(config.autoencoder), TextEncoder(config.clip), ImageEncoder(config.clip))
    for part in (parts.model, parts.autoencoder, parts.text_encoder, parts.image_encoder):
        part.eval()
    return parts


def write_official(parts: Modules, path: Path) -> None:
    rest = {name: torch.zeros(shape) for name, shape in unused_entries(parts).items()}
    state = to_official(parts, official_state(rest))
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets in the real layouts, a profile without a world, and a small checkpoint in the official layout."""
    root = tmp_path_factory.mktemp("released")
    world = WorldConfig(train_videos=4, ucf101_groups=8, ucf101_clips=1, msrvtt_videos=8, min_frames=29, max_frames=31)
    write_world(root / "data", world, 3)
    (root / "small.yaml").write_text(PROFILE.replace("MODEL", "tiny"))
    write_official(modules(presets.tiny()), root / "model.safetensors")
    return root


@pytest.fixture(autouse=True)
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fps_model` and `interpolation_model` can be named in a profile."""
    for preset in (fps_model, interpolation_model):
        monkeypatch.setattr(preset, "__module__", presets.__name__)
        monkeypatch.setattr(presets, preset.__name__, preset, raising=False)


def command(folder: Path, out: Path, *more: str) -> list[str]:
    data = [f"--data={name}={folder / 'data' / name}" for name in ("ucf101", "msrvtt")]
    places = ["--profile", str(folder / "small.yaml"), "--out", str(out / "run"), "--store", str(out / "store")]
    return [SPEC, *places, "--workers", "1", "--quiet", *data, *more]


def artifact(out: Path, label: str) -> Path:
    steps = json.loads((out / "run" / "plan.json").read_text())["steps"]
    (found,) = [step for step in steps if step["label"] == label]
    return out / "store" / "artifacts" / found["kind"] / found["fingerprint"]


def expected(parts: Modules, clips: Path, sampler: SamplerConfig, fs: str | int | None = None) -> np.ndarray:
    """What a checkpoint's own parts make of clips, put together here."""
    frames = load_file(clips / "clips.safetensors")["frames"][:3]
    items = json.loads((clips / "items.json").read_text())[:3]
    encoded = ClipEncoder(parts.autoencoder, parts.image_encoder, parts.text_encoder)(frames, told(items, fs), 32)
    schedule = Schedule(parts.model.config.diffusion)
    pipeline = Pipeline(parts.model, parts.autoencoder, None, None, schedule, sampler)
    ids = [item["id"] for item in items]
    one, two = (
        sample_batch(pipeline, encoded, np.array(k), [ids[i] for i in k], 0, "msrvtt") for k in ([0, 1], [2, 2])
    )
    return np.concatenate([one, two[:1]])


def sampled(folder: Path, out: Path, profile: str, file: Path) -> tuple[Path, dict[str, torch.Tensor], np.ndarray]:
    """Folder of the MSR-VTT clips, their encoding, and what the checkpoint makes of them; done in this process."""
    (out / "small.yaml").write_text(profile)
    data = (f"msrvtt={folder / 'data' / 'msrvtt'}",)
    options = Options((Path(SPEC),), str(out / "small.yaml"), data=data, weights=(f"dynamicrafter={file}",))
    last = prepare(replace(options, store=out)).plan.variants["released", "released"].scored["msrvtt", 0].clips
    done: dict[str, Path] = {}
    for step in needed(last):
        place = done[step.fingerprint] = out / step.kind
        (place / "scratch").mkdir(parents=True)
        inputs = {r: i.path if isinstance(i, File) else done[i.fingerprint] for r, i in step.inputs.items()}
        body = importlib.import_module(f"bench.steps.{step.kind}")
        body.run(Work({**step.config, **step.local}, inputs, place, place / "scratch"))
    frames = load_file(out / "sample" / "frames.safetensors")["frames"]
    return out / "clips", load_tensors(out / "encode" / "latents.safetensors"), frames


def test_a_checkpoint_is_sampled_and_scored_and_nothing_is_trained(folder, tmp_path, capsys):
    out, file = tmp_path / "out", folder / "model.safetensors"
    assert main(["run", *command(folder, out, f"--weights=dynamicrafter={file}")]) == 0
    records = [json.loads(line) for line in (out / "run" / "records.jsonl").read_text().splitlines()]
    kinds = Counter(step["kind"] for step in json.loads((out / "run" / "plan.json").read_text())["steps"])
    assert (kinds["train"], kinds["world"], kinds["sample"]) == (0, 0, 2)
    assert {record["variant"] for record in records} == {"released", "real", "reconstruction", "static", "another"}
    own = [record for record in records if record["variant"] == "released"]
    assert {(record["dataset"], record["world"], record["n"], record["comparable"]) for record in own} == {
        (name, "real", 3, False) for name in ("ucf101", "msrvtt")
    }
    told = f"weights model.safetensors, sha256 {sha256_file(file)}: not trained here, seeds are of the noise alone"
    assert all(told in record["notes"] for record in own)
    assert any("3 videos" in note or "192" in note for record in own for note in record["notes"])
    frames = load_file(artifact(out, "sample released msrvtt seed 0") / "frames.safetensors")["frames"]
    np.testing.assert_array_equal(frames, expected(modules(presets.tiny()), artifact(out, "clips msrvtt"), SAMPLER))
    page = (out / "run" / "report.html").read_text()
    assert "429.23" in page and "234.66" in page  # the published row stands beside it
    assert main(["run", *command(folder, out, f"--weights=dynamicrafter={file}")]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(("rate", "fs"), [("", "floor(fps / stride)"), ("rate: {evaluation: 24}\n", 24)])
def test_a_model_of_frames_per_second_is_told_those_of_each_clip(folder, tmp_path, rate, fs):
    """The 512 model's ways, from a .ckpt: floor(source fps / stride), or a number for all where the profile says."""
    parts = modules(fps_model())
    write_official(parts, tmp_path / "model.safetensors")
    torch.save({"state_dict": load_tensors(tmp_path / "model.safetensors"), "epoch": 3}, tmp_path / "model.ckpt")
    profile = PROFILE.replace("MODEL", "fps_model") + rate
    clips, encoded, frames = sampled(folder, tmp_path, profile, tmp_path / "model.ckpt")
    items = json.loads((clips / "items.json").read_text())[:3]
    assert encoded["fs"].tolist() == [24 if rate else int(item["fps"] // 3) for item in items]
    assert int(items[0]["fps"] // 3) > 3 and encoded["image_tokens"].shape[1] == 1
    np.testing.assert_array_equal(frames, expected(parts, clips, SAMPLER, fs))


def test_an_interpolation_model_is_shown_the_real_clips_last_frame(folder, tmp_path):
    parts = modules(interpolation_model())
    write_official(parts, tmp_path / "model.safetensors")
    profile = PROFILE.replace("MODEL", "interpolation_model")
    clips, _, frames = sampled(folder, tmp_path, profile, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(frames, expected(parts, clips, SAMPLER, "floor(fps / stride)"))
    shown = load_file(clips / "clips.safetensors")["frames"].copy()
    shown[:, -1] = 255 - shown[:, -1]
    save_file({"frames": torch.from_numpy(shown)}, clips / "clips.safetensors")
    assert not np.array_equal(expected(parts, clips, SAMPLER, "floor(fps / stride)"), frames)


@pytest.mark.parametrize(("fps", "stride", "fs"), [(25.0, 3, 8), (29.97, 1, 29), (8.0, 6, 1), (5.0, 6, 1)])
def test_frames_per_second_are_floored_as_the_official_loader_does(fps, stride, fs):
    items = [{"fps": fps, "frame_stride": stride}]
    assert told(items, "floor(fps / stride)")[0]["fs"] == fs
    assert told(items, None) == items and told(items, 24)[0]["fs"] == 24


def test_without_a_world_what_is_not_given_is_a_named_placeholder(folder, tmp_path, capsys):
    profile = ["--profile", str(folder / "small.yaml"), "--store", str(tmp_path / "store")]
    for spec, roles in (("released", ["dynamicrafter"]), ("dual_stream", ["t2i", "t2v", "vae", "clip"])):
        arguments = [str(ROOT / "ablations" / f"{spec}.yaml"), *profile]
        assert main(["plan", *arguments]) == 0
        said = capsys.readouterr().out
        data = ["ucf101", "msrvtt"] + (["train"] if spec == "dual_stream" else [])
        for role in roles:
            assert re.search(rf"Not there yet: weights '{role}' \(.+\): give --weights {role}=FILE", said), role
        for role in data:
            assert re.search(rf"Not there yet: data '{role}' \(.+\): give --data {role}=DIR", said), role
        assert main(["run", *arguments, "--out", str(tmp_path / "run")]) == 2
        refused = capsys.readouterr().err
        assert all(f"--weights {role}=FILE" in refused for role in roles)
        assert all(f"--data {role}=DIR" in refused for role in data)
        assert not (tmp_path / "run").exists()


def test_one_evaluation_set_is_enough_and_the_other_is_named(folder, tmp_path, capsys):
    arguments = [SPEC, "--profile", str(folder / "small.yaml"), "--store", str(tmp_path)]
    assert main(["plan", *arguments, f"--data=msrvtt={folder / 'data' / 'msrvtt'}"]) == 0
    said = capsys.readouterr().out
    assert "Data ucf101: not given, not evaluated (--data ucf101=DIR)" in said
    assert "clips ucf101" not in said and "Not there yet: data" not in said


MISFITS = {
    "another model": (fps_model, r"model\.safetensors does not fit, \d+ entries"),
    "no checkpoint": (None, r"is no checkpoint in the official layout: it holds decoder"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_file_that_does_not_fit_is_refused_before_any_work(folder, tmp_path, capsys, name):
    make, words = MISFITS[name]
    file = ROOT / "weights" / "tiny" / "vae.safetensors"
    if make is not None:
        file = tmp_path / "model.safetensors"
        write_official(modules(make()), file)
    assert main(["run", *command(folder, tmp_path / "out", f"--weights=dynamicrafter={file}")]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "out" / "run").exists()


def test_on_the_tiny_world_the_full_model_stands_in_and_is_shared(tmp_path):
    specs = tuple(ROOT / "ablations" / f"{name}.yaml" for name in ("dual_stream", "released"))
    both, alone = (prepare(Options(which, "smoke", store=tmp_path)).plan for which in (specs, specs[:1]))
    assert set(both.graph.steps) == set(alone.graph.steps)
    assert both.variants["released", "released"] is both.variants["dual_stream", "full"]
    (note,) = both.notes["released", "released"]
    assert note.startswith("no checkpoint given: the smoke model, trained here, stands in for the released one")
    assert both.notes["dual_stream", "full"] == ()


def test_a_checkpoint_beside_trained_variants_brings_its_own_frozen_parts(folder, tmp_path):
    specs = tuple(ROOT / "ablations" / f"{name}.yaml" for name in ("dual_stream", "released"))
    file = folder / "model.safetensors"
    plan = prepare(Options(specs, "smoke", store=tmp_path, weights=(f"dynamicrafter={file}",))).plan
    for name, source in (("released", file), ("full", ROOT / "weights" / "tiny" / "vae.safetensors")):
        question = "released" if name == "released" else "dual_stream"
        sample = plan.variants[question, name].scored["msrvtt", 0].clips
        assert sample.inputs["vae"].path == source and sample.inputs["encoded"].inputs["vae"].path == source
    assert plan.evaluation["msrvtt"].encoded.inputs["vae"].path == ROOT / "weights" / "tiny" / "vae.safetensors"
    assert plan.variants["released", "released"].training == {0: ()}


def test_a_setting_beside_the_weights_is_refused(tmp_path):
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        'question: What?\nsource: "ours"\nvariants:\n  mine: {weights: dynamicrafter, train.schedule: one_stage}\n'
    )
    with pytest.raises(UsageError, match=r"mine.yaml:4: variants.mine.train.schedule: the variant is the model in"):
        prepare(Options((spec,), "smoke", store=tmp_path))
