"""Which clip a system is asked for, what of it counts, and which folders are refused: nothing here needs diffusers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.external.canvas import cut, spread
from models.external.folder import check, files, is_pipeline, variant
from models.external.rules import Rules, Sampler, making, told
from models.external.table import ADAPTERS

ROOT = Path(__file__).parents[2]
PLAIN = Rules(own_size=(64, 96), own_fps=8)
SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@pytest.mark.parametrize(
    ("name", "frames", "made"),
    [("i2vgen-xl", 16, 16), ("svd", 16, 16), ("cogvideox", 16, 17), ("wan", 16, 17), ("ltx", 16, 17),
     ("cogvideox", 17, 17), ("cogvideox", 18, 25), ("wan", 18, 21), ("ltx", 18, 25), ("ltx", 1, 1), ("svd", 1, 2)],
)  # fmt: skip
def test_the_frames_that_a_system_can_make(name, frames, made):
    one = making(ADAPTERS[name].rules, Sampler(), frames, 8.0, (256, 256))
    assert (one.frames, one.keep) == (made, tuple(range(frames)))


@pytest.mark.parametrize(
    ("name", "size"), [("svd", (64, 64)), ("i2vgen-xl", (40, 56)), ("cogvideox", (48, 64)), ("ltx", (64, 64))]
)
def test_the_sizes_that_a_system_can_make(name, size):
    assert making(ADAPTERS[name].rules, Sampler(), 8, 8.0, (40, 56)).size == size


@given(SIZES, st.sampled_from(sorted(ADAPTERS)), st.sampled_from(["asked", "own"]), st.booleans())
def test_a_clip_that_stays_the_picture_comes_back_as_the_picture(size, name, which, fixed):
    rules = replace(ADAPTERS[name].rules, fixed_size=fixed, own_size=(96, 160))
    one = making(rules, Sampler(size=which), 3, 8.0, size)
    picture = np.full((*size, 3), (10, 200, 90), np.uint8)
    canvas = spread(picture, one)
    assert canvas.shape == (*one.size, 3)
    assert one.size == (96, 160) if fixed or which == "own" else not any(n % rules.size_step for n in one.size)
    back = cut(np.stack([canvas] * one.frames), one, size)
    np.testing.assert_array_equal(back, np.stack([picture] * 3))


def test_a_picture_of_another_size_is_continued_by_its_edges_and_cut_back_to_the_bit():
    picture = np.random.default_rng(0).integers(0, 255, (10, 13, 3), dtype=np.uint8)
    one = making(PLAIN, Sampler(), 2, 8.0, (10, 13))
    canvas = spread(picture, one)
    assert (one.size, one.corner) == ((16, 16), (3, 1))
    np.testing.assert_array_equal(canvas[0, 1:14], picture[0])
    np.testing.assert_array_equal(canvas[3:13, 15], picture[:, -1])
    np.testing.assert_array_equal(cut(canvas[None].repeat(2, 0), one, (10, 13))[1], picture)


def test_the_own_size_holds_the_whole_picture_at_its_own_aspect():
    one = making(PLAIN, Sampler(size="own"), 2, 8.0, (32, 32))
    assert (one.size, one.inner, one.corner) == ((64, 96), (64, 64), (0, 16))


def test_frames_are_taken_as_they_come_unless_the_field_says_resampled():
    as_made = making(PLAIN, Sampler(), 4, 4.0, (8, 8))
    resampled = making(PLAIN, Sampler(time="resampled"), 4, 4.0, (8, 8))
    assert (as_made.frames, as_made.keep) == (4, (0, 1, 2, 3))
    assert (resampled.frames, resampled.keep) == (7, (0, 2, 4, 6))
    clip = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    assert cut(clip, resampled, (8, 8))[:, 0, 0, 0].tolist() == [0, 2, 4, 6]


def test_the_rate_is_told_to_those_that_take_one():
    assert making(replace(PLAIN, told_rate=True), Sampler(), 4, 8.33, (8, 8)).fps == 8
    assert making(PLAIN, Sampler(), 4, 25.0, (8, 8)).fps == 8  # its own
    assert making(replace(PLAIN, told_rate=True), Sampler(time="resampled"), 4, 25.0, (8, 8)).fps == 8


def test_what_was_done_is_told():
    rules = replace(PLAIN, frame_step=4, size_step=32, prompt=False)
    words = "; ".join(told(rules, Sampler(), [making(rules, Sampler(), 16, 8.33, (40, 40))], [8.33], (40, 40)))
    for said in ("prompts are ignored", "makes 17 frames: the 16 that come first", "about 8 frames per second", "64x64",
                 "picture of 40x40"):  # fmt: skip
        assert said in words
    other = Sampler(time="resampled")
    again = told(rules, other, [making(rules, other, 4, fps, (32, 32)) for fps in (2, 4)], [2, 4], (32, 32))
    assert any("taken at 2 to 4" in line for line in again) and any("makes 9 to 13 frames" in line for line in again)
    assert any("resampled in time" in line for line in again) and not any("as they come" in line for line in again)


@pytest.mark.parametrize("asked", [(0, 8.0, (8, 8)), (4, 0.0, (8, 8)), (4, 8.0, (0, 8)), (4, float("nan"), (8, 8))])
def test_a_clip_of_nothing_is_refused(asked):
    with pytest.raises(ValueError, match="above 0"):
        making(PLAIN, Sampler(), *asked)


def test_a_picture_that_is_none_is_refused():
    one = making(PLAIN, Sampler(), 2, 8.0, (8, 8))
    with pytest.raises(ValueError, match=r"float64 \(8, 8\)"):
        spread(np.zeros((8, 8)), one)


def test_rules_of_a_checkpoint_whose_positions_are_learned(tmp_path):
    adapter = ADAPTERS["cogvideox"]
    learned = {"use_learned_positional_embeddings": True, "sample_height": 60, "sample_width": 90}
    assert adapter.of_folder(adapter.rules, {"transformer": learned}) == replace(
        adapter.rules, own_size=(480, 720), fixed_size=True
    )
    assert not adapter.of_folder(adapter.rules, {"transformer": {"sample_height": 60, "sample_width": 90}}).fixed_size
    later = adapter.of_folder(adapter.rules, {"transformer": {"patch_size_t": 2}})
    assert (later.frame_step, later.own_fps, later.own_size, later.fixed_size) == (16, 16, (768, 1360), False)
    svd = ADAPTERS["svd"]
    assert svd.of_folder(svd.rules, {"unet": {"block_out_channels": [32, 64]}}).size_step == 16
    wan = ADAPTERS["wan"]
    big = {"vae": {"scale_factor_spatial": 16}, "transformer": {"patch_size": [1, 2, 2]}}
    assert wan.of_folder(wan.rules, big).size_step == 32
    for odd in ({}, {**big, "transformer": {"patch_size": []}}):
        assert wan.of_folder(wan.rules, odd).size_step == 16


def pipeline(folder: Path, index: dict | None = None) -> Path:
    """A folder that looks like Stable Video Diffusion's, of two parts."""
    parts = {"unet": ["diffusers", "UNetSpatioTemporalConditionModel"], "scheduler": ["diffusers", "EulerScheduler"]}
    (folder / "unet").mkdir(parents=True)
    (folder / "scheduler").mkdir()
    (folder / "unet" / "config.json").write_text('{"num_frames": 14}')
    (folder / "unet" / "model.safetensors").write_bytes(b"x")
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    written = {"_class_name": "StableVideoDiffusionPipeline", "_diffusers_version": "0.1", **parts, **(index or {})}
    (folder / "model_index.json").write_text(json.dumps(written))
    return folder


def test_a_folder_that_is_right_gives_its_configs_and_files(tmp_path):
    folder = pipeline(tmp_path / "svd", {"safety": [None, None]})
    assert is_pipeline(folder)
    assert check(folder, ADAPTERS["svd"].pipeline) == {"unet": {"num_frames": 14}}
    (folder / "unet" / "old.bin").write_bytes(b"never read")
    assert [path.name for path in files(folder)] == [
        "model_index.json", "scheduler_config.json", "config.json", "model.safetensors"]  # fmt: skip
    assert variant(folder) is None
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "model.fp16.safetensors")
    assert variant(folder) == "fp16"


def spoil(what: str):
    """The folder with one thing wrong."""

    def index(key: str, value: object):
        def go(folder: Path) -> None:
            known = json.loads((folder / "model_index.json").read_text())
            (folder / "model_index.json").write_text(json.dumps({**known, key: value}))

        return go

    def pickled(folder: Path) -> None:
        (folder / "unet" / "model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")

    def shard(name: str):
        def go(folder: Path) -> None:
            (folder / "unet" / "m.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))

        return go

    return {
        "class": index("_class_name", "WanImageToVideoPipeline"),
        "custom class": index("_class_name", ["mine", "StableVideoDiffusionPipeline"]),
        "library": index("unet", ["my_code", "Net"]),
        "climbing part": index("../unet", ["diffusers", "Net"]),
        "missing part": index("vae", ["diffusers", "AutoencoderKL"]),
        "no index": lambda folder: (folder / "model_index.json").unlink(),
        "broken index": lambda folder: (folder / "model_index.json").write_text("{"),
        "a list": lambda folder: (folder / "model_index.json").write_text("[]"),
        "no config": lambda folder: (folder / "unet" / "config.json").unlink(),
        "pickled": pickled,
        "no weights": lambda folder: (folder / "unet" / "model.safetensors").unlink(),
        "missing shard": shard("m-00001-of-00002.safetensors"),
        "climbing shard": shard("../../other.safetensors"),
        "code": lambda folder: (folder / "None.py").write_text("raise SystemExit"),
        "auto map": lambda folder: (folder / "unet" / "config.json").write_text('{"auto_map": {}}'),
        "not there": lambda folder: folder.rename(folder.with_name("elsewhere")),
    }[what]


@pytest.mark.parametrize(
    ("what", "words"),
    [("class", "holds a 'WanImageToVideoPipeline', wanted is a StableVideoDiffusionPipeline"),
     ("custom class", "holds a"), ("library", "my_code"), ("climbing part", "../unet"),
     ("missing part", "vae: the part's folder is missing"), ("no index", "no model_index.json in it"),
     ("broken index", "no JSON that can be read"), ("a list", "no JSON object"),
     ("no config", "config.json: the file is missing"), ("pickled", "pickled weights are never opened"),
     ("no weights", "its weights are missing"), ("missing shard", "1 of 1 shards are missing"),
     ("climbing shard", "no name of a file beside it"), ("code", "code of its own (None.py)"),
     ("auto map", "code of its own ('auto_map')"), ("not there", "there is no such folder")],
)  # fmt: skip
def test_a_folder_that_is_wrong_is_refused_on_one_line(tmp_path, what, words):
    folder = pipeline(tmp_path / "svd")
    spoil(what)(folder)
    with pytest.raises(ValueError) as error:
        check(folder, ADAPTERS["svd"].pipeline)
    assert words in str(error.value) and "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_the_table_names_each_adapter_once_and_imports_neither_torch_nor_diffusers():
    assert sorted(ADAPTERS) == ["cogvideox", "i2vgen-xl", "ltx", "svd", "wan"]
    code = "import sys, models.external.table, models.external.folder; print({'torch', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_frames_come_out_in_the_order_of_memory_that_files_are_written_in():
    one = making(PLAIN, Sampler(), 2, 8.0, (8, 8))
    odd = np.arange(3 * 2 * 8 * 8, dtype=np.uint8).reshape(3, 2, 8, 8).transpose(1, 2, 3, 0)  # as a decoder leaves it
    clip = cut(odd, one, (8, 8))
    assert clip.flags.c_contiguous
    np.testing.assert_array_equal(clip, odd)
