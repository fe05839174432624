"""Sampling and the baselines: a clip depends on its seed, data set and id, never on its neighbours or the batch."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from bench.encoded import load_encoded, padded_batches
from bench.seeding import generator
from bench.steps import baseline, sample
from bench.steps.encode import ClipEncoder
from bench.variants import config_to_json, model_to_json
from bench.work import Work
from models.autoencoder import Autoencoder
from models.config import SamplerConfig
from models.dynamicrafter import DynamiCrafter
from models.encoders import ImageEncoder, TextEncoder
from models.presets import tiny
from models.weights import save_module

SAMPLER = SamplerConfig(steps=2, spacing="uniform_trailing", eta=1.0, text_scale=2.0, guidance_rescale=0.7)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, their encoding and random weights, as artifacts of earlier steps."""
    folder = tmp_path_factory.mktemp("artifacts")
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 32, 32, 3), dtype=np.uint8)
    items = [{"id": f"v{k}", "prompt": f"a red circle {k}", "frame_stride": 3, "group": None} for k in range(6)]
    (folder / "clips").mkdir()
    save_file({"frames": frames}, folder / "clips" / "clips.safetensors")
    (folder / "clips" / "items.json").write_text(json.dumps(items))
    autoencoder = Autoencoder(tiny().autoencoder)
    save_module(autoencoder, folder / "vae.safetensors")
    model = DynamiCrafter(tiny())
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.2)  # zero at the start: would ignore its input
    save_module(model, folder / "model.safetensors")
    encode = ClipEncoder(autoencoder, ImageEncoder(tiny().clip), TextEncoder(tiny().clip))
    (folder / "encoded").mkdir()
    encode(frames, items, 4).save(folder / "encoded")
    (folder / "encoded" / "items.json").write_text(json.dumps(items))
    return folder


def sampled(world: Path, out: Path, batch: int = 4, **config: object) -> np.ndarray:
    out.mkdir(parents=True)
    (out / "scratch").mkdir()
    told = {
        "model": model_to_json(tiny()),
        "sampler": config_to_json(SAMPLER),
        "batch": batch,
        "seed": 0,
        "dataset": "ucf101",
        **config,
    }
    names = {"model": "model.safetensors", "vae": "vae.safetensors", "encoded": "encoded", "clips": "clips"}
    work = Work(told, {k: world / v for k, v in names.items()}, out, out / "scratch")
    sample.run(work)
    return load_file(out / "frames.safetensors")["frames"]


def test_the_same_step_gives_the_same_bytes_and_another_seed_or_data_set_others(world: Path, tmp_path: Path) -> None:
    first = sampled(world, tmp_path / "a")
    assert first.shape == (6, 8, 32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, sampled(world, tmp_path / "b"))
    assert not np.array_equal(first, sampled(world, tmp_path / "c", seed=1))
    assert not np.array_equal(first, sampled(world, tmp_path / "d", dataset="msrvtt"))


@pytest.mark.parametrize("batch", [1, 3, 6, 100])
def test_the_batch_setting_changes_no_byte(world: Path, tmp_path: Path, batch: int) -> None:
    assert np.array_equal(sampled(world, tmp_path / "a"), sampled(world, tmp_path / "b", batch))


def test_a_clip_does_not_depend_on_the_clips_beside_it(world: Path, tmp_path: Path) -> None:
    """The first item of a batch of others is what it is in any other company and at any place."""
    whole = sampled(world, tmp_path / "a")
    items = json.loads((world / "encoded" / "items.json").read_text())
    turned = tmp_path / "turned"
    turned.mkdir()
    state = load_file(world / "encoded" / "latents.safetensors")
    order = [5, 3, 1, 0, 2, 4]
    own = ("mean", "std", "image_tokens", "text", "fs")
    save_file(
        {k: np.ascontiguousarray(v[order]) if k in own else v for k, v in state.items()},
        turned / "latents.safetensors",
    )
    (turned / "items.json").write_text(json.dumps([items[k] for k in order]))
    out = tmp_path / "b"
    (out / "scratch").mkdir(parents=True)
    told = {
        "model": model_to_json(tiny()),
        "sampler": config_to_json(SAMPLER),
        "batch": 4,
        "seed": 0,
        "dataset": "ucf101",
    }
    inputs = {"model": world / "model.safetensors", "vae": world / "vae.safetensors", "encoded": turned}
    sample.run(Work(told, inputs, out, out / "scratch"))
    again = load_file(out / "frames.safetensors")["frames"]
    assert np.array_equal(again, whole[order])


def test_an_interrupted_step_goes_on_where_it_stopped(world: Path, tmp_path: Path) -> None:
    whole = sampled(world, tmp_path / "a")
    scratch = tmp_path / "a" / "scratch"
    kept = sorted(scratch.glob("*.safetensors"))
    assert len(kept) == 2
    marked = load_file(kept[0])["frames"] * 0
    save_file({"frames": marked}, kept[0])  # a finished batch is read, not made again
    kept[1].unlink()
    told = {
        "model": model_to_json(tiny()),
        "sampler": config_to_json(SAMPLER),
        "batch": 4,
        "seed": 0,
        "dataset": "ucf101",
    }
    inputs = {"model": world / "model.safetensors", "vae": world / "vae.safetensors", "encoded": world / "encoded"}
    sample.run(Work(told, inputs, tmp_path / "a", scratch))
    again = load_file(tmp_path / "a" / "frames.safetensors")["frames"]
    assert not again[:4].any() and np.array_equal(again[4:], whole[4:])


@pytest.mark.parametrize("left", [0, 30, -1])
def test_a_batch_that_was_cut_short_is_made_again(tmp_path: Path, left: int) -> None:
    frames = np.arange(12, dtype=np.uint8).reshape(3, 4)
    part = sample.Part(tmp_path, 0, 3)
    path = tmp_path / part.name
    assert part.kept() is None
    part.keep(frames)
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    assert part.kept() is None
    part.keep(frames)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]
    assert np.array_equal(part.kept(), frames)  # whole again: read, not made


def test_batches_have_one_size_and_the_padding_counts_for_nothing() -> None:
    batches = padded_batches(10, 4)
    assert [len(index) for index, _ in batches] == [4, 4, 4] and [valid for _, valid in batches] == [4, 4, 2]
    assert np.concatenate([index[:valid] for index, valid in batches]).tolist() == list(range(10))


def test_draws_belong_to_their_words() -> None:
    words = (0, "sample", "ucf101", "v1")
    assert generator(*words).uniform() == generator(*words).uniform()
    assert generator(*words).uniform() != generator(0, "sample", "ucf101", "v2").uniform()


@pytest.mark.parametrize("name", ["real", "static", "another"])
def test_baselines_are_what_they_say(world: Path, tmp_path: Path, name: str) -> None:
    baseline.run(Work({"baseline": name, "count": 3}, {"clips": world / "clips"}, tmp_path, tmp_path))
    made = load_file(tmp_path / "frames.safetensors")["frames"]
    clips = load_file(world / "clips" / "clips.safetensors")["frames"]
    expected = {
        "real": clips[3:6],
        "static": np.repeat(clips[:3, :1], 8, axis=1),
        "another": clips[3:6],
    }[name]
    assert np.array_equal(made, expected)
    ids = [item["id"] for item in json.loads((tmp_path / "items.json").read_text())]
    assert ids == (["v0", "v1", "v2"] if name == "static" else ["v3", "v4", "v5"])


def test_real_against_real_needs_a_second_half(world: Path, tmp_path: Path) -> None:
    baseline.run(Work({"baseline": "real", "count": 5}, {"clips": world / "clips"}, tmp_path, tmp_path))
    assert "needs 7 videos" in json.loads((tmp_path / "notes.json").read_text())[0]
    assert len(load_file(tmp_path / "frames.safetensors")["frames"]) == 0


@pytest.fixture(scope="module")
def seeing(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same artifacts with a model whose layers all count: at the start of training most add nothing yet."""
    folder = tmp_path_factory.mktemp("seeing") / "artifacts"
    shutil.copytree(world, folder)
    torch.manual_seed(0)
    model = DynamiCrafter(tiny())
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    save_module(model, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def plain(seeing: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return sampled(seeing, tmp_path_factory.mktemp("plain") / "out")


def test_without_a_prompt_every_prompt_is_the_empty_one(seeing: Path, plain: np.ndarray, tmp_path: Path) -> None:
    without = sampled(seeing, tmp_path / "a", prompt="none")
    assert not np.array_equal(plain, without)
    data = load_encoded(seeing / "encoded")
    emptied = sample.without_prompts(data)
    assert torch.equal(emptied.text, data.null_text.half().expand(6, -1, -1)) and torch.equal(emptied.mean, data.mean)
    other = tmp_path / "other"
    shutil.copytree(seeing, other)
    emptied.save(other / "encoded")
    assert np.array_equal(without, sampled(other, tmp_path / "b"))


def test_lambda_is_turned_before_sampling(seeing: Path, plain: np.ndarray, tmp_path: Path) -> None:
    turned = sampled(seeing, tmp_path / "a", lambda_factors={"middle": 0.0})
    assert not np.array_equal(plain, turned)
    assert not np.array_equal(turned, sampled(seeing, tmp_path / "b", lambda_factors={"ends": 0.0}))
    assert np.array_equal(plain, sampled(seeing, tmp_path / "c", lambda_factors={"ends": 1.0}))


def test_files_are_written_while_the_next_clips_are_made(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving one part waits until the next one is being made: it would never end if sampling waited for it."""
    keep, made = sample.Part.keep, sample.sample_batch
    begun, saved = threading.Event(), []
    starts: list[int] = []

    def slow(self: sample.Part, frames: np.ndarray) -> None:
        assert self.start or begun.wait(60), "the next part was not begun while this one was saved"
        keep(self, frames)
        saved.append(self.start)

    def noted(*args: object) -> np.ndarray:
        starts.append(len(starts))
        if len(starts) > 1:
            begun.set()
        return made(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sample.Part, "keep", slow)
    monkeypatch.setattr(sample, "sample_batch", noted)
    frames = sampled(world, tmp_path / "out", batch=2)
    assert saved == [0, 2, 4] and len(frames) == 6


def test_what_goes_wrong_in_the_writer_stops_the_step(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: sample.Part, frames: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample.Part, "keep", full)
    with pytest.raises(OSError, match="No space left"):
        sampled(world, tmp_path / "out", batch=6)
