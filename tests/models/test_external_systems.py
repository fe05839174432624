"""Each adapter, run for real on a tiny random pipeline that was saved to a folder: shape, seed, prompt and picture."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.external import system as module
from models.external.rules import Sampler
from models.external.system import System, load
from models.external.table import ADAPTERS
from tests.fixtures.tiny_systems import PIPELINES, save

NEEDED = [name for name in ("diffusers", "transformers") if importlib.util.find_spec(name) is None]
with_library = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")
SIZE = (32, 32)
WORDS = "a car"  # short enough for the tiny text encoder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("systems")
    return {name: save(name, root / name) for name in PIPELINES}


@pytest.fixture(scope="module")
def systems(folders) -> dict[str, System]:
    return {name: load(ADAPTERS[name], folder, Sampler(steps=2)) for name, folder in folders.items()}


def picture(bright: bool = False) -> np.ndarray:
    rows = np.linspace(120, 250, 32) if bright else np.linspace(90, 0, 32)
    return np.broadcast_to(rows[:, None, None], (32, 32, 3)).astype(np.uint8)


def sample(system: System, image: np.ndarray | None = None, prompt: str = WORDS, seed: int = 3) -> np.ndarray:
    return system.sample(picture() if image is None else image, prompt, 6, 25 / 3, SIZE, seed)


@with_library
@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_system_makes_the_clip_that_was_asked_for(systems, name):
    clip = sample(systems[name])
    assert clip.shape == (6, 32, 32, 3) and clip.dtype == np.uint8
    assert clip.std() > 1, "a random network makes noise, not one colour"


@with_library
@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_seed_prompt_and_picture_decide_the_clip_and_nothing_else(systems, name):
    system = systems[name]
    first = sample(system)
    before = torch.random.get_rng_state()
    torch.rand(5)  # whatever was drawn before
    np.testing.assert_array_equal(sample(system), first)
    assert (sample(system, seed=4) != first).mean() > 0.1
    assert (sample(system, picture(bright=True)) != first).any()
    takes_text = ADAPTERS[name].rules.prompt
    assert (sample(system, prompt="dog") != first).any() == takes_text
    torch.random.set_rng_state(before)


@with_library
@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_the_global_generator_is_put_back(systems, name):
    before = torch.random.get_rng_state()
    sample(systems[name])
    assert torch.equal(before, torch.random.get_rng_state())


@with_library
def test_another_load_of_the_same_folder_makes_the_same_bytes(systems, folders):
    again = load(ADAPTERS["i2vgen-xl"], folders["i2vgen-xl"], Sampler(steps=2))
    np.testing.assert_array_equal(sample(again), sample(systems["i2vgen-xl"]))


@with_library
@pytest.mark.parametrize("name", ["i2vgen-xl", "svd", "ltx"])
def test_the_rate_that_a_system_is_told_counts(systems, name):
    slow, fast = (systems[name].sample(picture(), WORDS, 6, fps, SIZE, 3) for fps in (4.0, 24.0))
    assert (slow != fast).any()


@with_library
@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_frames_and_sizes_that_a_system_cannot_make_are_cut_out_of_what_it_can(systems, name):
    image = np.zeros((24, 40, 3), np.uint8)
    for frames in (1, 2, 3, 6, 10):
        assert systems[name].sample(image, WORDS, frames, 8.0, (24, 40), 0).shape == (frames, 24, 40, 3)


@with_library
def test_the_number_of_steps_counts(systems, folders):
    more = load(ADAPTERS["ltx"], folders["ltx"], Sampler(steps=3))
    assert (sample(more) != sample(systems["ltx"])).any()


@with_library
def test_a_prompt_that_is_cut_is_known(systems):
    long = "many more words than an encoder of sixteen letters reads"
    assert systems["i2vgen-xl"].reads(WORDS) and not systems["i2vgen-xl"].reads(long)
    assert systems["ltx"].reads(long) and not systems["ltx"].reads(" ".join([long] * 30))
    assert systems["svd"].reads(" ".join([long] * 30)), "it reads none at all"


@with_library
def test_a_picture_of_another_size_is_refused(systems):
    with pytest.raises(ValueError, match="the picture is 8x8, the clip 32x32"):
        sample(systems["svd"], np.zeros((8, 8, 3), np.uint8))


@with_library
def test_numbers_that_are_none_are_refused(systems):
    with pytest.raises(ValueError, match="svd made values that are no numbers"):
        systems["svd"]._bytes(np.full((1, 2, 2, 3), np.nan), (1, 2, 2, 3))
    with pytest.raises(ValueError, match=r"svd made \(1, 2, 2, 3\), asked for"):
        systems["svd"]._bytes(np.zeros((1, 2, 2, 3)), (2, 2, 2, 3))


@with_library
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("damage", ["tensor", "cut"])
def test_weights_that_lack_a_tensor_or_are_cut_short_are_refused(tmp_path, part, damage):
    """The libraries would fill a missing tensor with random numbers and go on."""
    from safetensors.torch import load_file, save_file

    folder = save("i2vgen-xl", tmp_path / "pipeline")
    file = next((folder / part).glob("*.safetensors"))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        tensors = load_file(file)
        gone = next(name for name in sorted(tensors) if name.endswith("weight"))
        del tensors[gone]
        save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ValueError) as error:
        load(ADAPTERS["i2vgen-xl"], folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert damage == "cut" or gone in str(error.value)


@with_library
def test_a_pickled_part_is_refused_before_it_is_opened(tmp_path):
    import diffusers

    folder = save("ltx", tmp_path / "pipeline")
    whole = diffusers.LTXImageToVideoPipeline.from_pretrained(str(folder), local_files_only=True)
    whole.save_pretrained(str(tmp_path / "pickled"), safe_serialization=False)
    with pytest.raises(ValueError, match=r"\.bin: pickled weights are never opened"):
        load(ADAPTERS["ltx"], tmp_path / "pickled")


@with_library
def test_another_pipeline_is_refused(folders):
    with pytest.raises(ValueError, match="holds a 'WanImageToVideoPipeline', wanted is a LTXImageToVideoPipeline"):
        load(ADAPTERS["ltx"], folders["wan"])


def test_without_the_libraries_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "not_installed", lambda: ["diffusers"])
    monkeypatch.setattr(module, "check", lambda folder, name: {})
    with pytest.raises(ValueError, match=r"diffusers is not installed: pip install -e '\.\[systems\]'; or give a fold"):
        load(ADAPTERS["svd"], tmp_path)


@with_library
def test_nothing_is_asked_of_a_network(folders, monkeypatch):
    import socket

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name, folder in folders.items():
        sample(load(ADAPTERS[name], folder, Sampler(steps=1)))


@with_library
def test_diffusers_runs_beside_our_datasets(systems):
    import datasets

    assert datasets.IS_I2V_BENCH and "diffusers" in sys.modules and "transformers" in sys.modules
    assert sample(systems["ltx"]).any()


@with_library
def test_the_pipelines_of_these_tests_are_what_the_adapters_name(folders):
    for name, folder in folders.items():
        assert json.loads((folder / "model_index.json").read_text())["_class_name"] == ADAPTERS[name].pipeline
