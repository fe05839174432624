"""Measuring networks by name, and the step that asks them: one pass, a row from its own clip alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.metrics import extractors
from bench.metrics.extract import Embedded, Pairwise, conformity, unit_range
from bench.metrics.extractors import IMAGES, LEVELS, as_made, cut_off, open_distances, open_video, shown
from bench.metrics.features import read_sample
from bench.metrics.i3d import I3D, entries
from bench.metrics.preprocess import PIPELINES
from bench.protocols.dialects import TRUNCATED
from bench.steps import features
from bench.variants import config_to_json
from bench.work import Work
from datasets.framefile import FramesWriter
from models.presets import tiny
from models.weights import save_tensors

TINY = Path(__file__).parents[3] / "weights" / "tiny"
FILES = {role: TINY / f"{role}.safetensors" for role in ("classifier", "perceptual", "clip")}
VIDEO = {"network": "tiny-i3d", "input": "as_made", "eps": None, "bytes": "as they are"}
CLIP = {"network": "tiny-clip", "towers": config_to_json(tiny().clip)}


def clips(n=5, t=8, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, t, size, size, 3), dtype=np.uint8)


def artifact(folder: Path, frames, prompts=None, name="clips.safetensors") -> Path:
    folder.mkdir(parents=True)
    with FramesWriter(folder / name) as writer:
        writer.shape = frames.shape[1:]
        for clip in frames:
            writer.append(clip)
    words = prompts or [f"a red square {k}" for k in range(len(frames))]
    items = [{"id": f"v{k}", "prompt": word, "group": None} for k, word in enumerate(words)]
    (folder / "items.json").write_text(json.dumps(items))
    return folder


@pytest.fixture
def measured(tmp_path):
    """measured(frames, ...): the sample that the step leaves, and its folder."""
    made = []

    def run(frames, conditions=True, items=None, prompts=None, **config):
        place = tmp_path / f"{len(made)}"
        made.append(place)
        inputs = {"clips": artifact(place / "clips", frames, prompts, "frames.safetensors"), **FILES}
        if items is not None:
            (place / "clips" / "items.json").write_text(json.dumps(items))
        if conditions:
            inputs["conditions"] = artifact(place / "conditions", clips(6, frames.shape[1], seed=9))
        (place / "out").mkdir()
        told = {"count": 99, "micro_batch": 4, "video": VIDEO, "image": "tiny-perceptual", "motion": True, "clip": CLIP}
        features.run(Work({**told, **config}, inputs, place / "out", place))
        return read_sample(place / "out"), place / "out"

    return run


# ---- the step ----


def test_one_pass_leaves_all_that_is_asked_for(measured):
    found, out = measured(clips())
    assert found.features.shape == (5, 64) and found.conformity.shape == (5, 8)
    assert {name: values.shape for name, values in found.extras.items()} == {
        "motion": (5,), "consistency": (5,), "alignment": (5,),
    }  # fmt: skip
    assert len(json.loads((out / "motions.json").read_text())) == 5 and found.ids[0] == "v0"
    assert (found.extras["consistency"] <= 1).all() and (abs(found.extras["alignment"]) <= 100).all()


@pytest.mark.parametrize("frames", [clips()[:2], clips()[3:]])
def test_a_row_depends_on_its_own_clip_alone(measured, frames):
    """Other clips beside it, another place in the batch, a padded batch: the same bits."""
    start = 0 if np.array_equal(frames, clips()[:2]) else 3
    conditions = [{"id": f"v{k + start}", "prompt": f"a red square {k + start}"} for k in range(2)]
    whole, _ = measured(clips())
    part, _ = measured(frames, items=conditions)
    rows = slice(start, start + 2)
    assert np.array_equal(part.features, whole.features[rows])
    for name, values in part.extras.items():
        assert np.array_equal(values, whole.extras[name][rows]), name


def test_the_order_of_the_clips_is_the_order_of_the_rows_and_nothing_else(measured):
    whole, _ = measured(clips())
    items = [{"id": f"v{k}", "prompt": f"a red square {k}"} for k in reversed(range(5))]
    turned, _ = measured(clips()[::-1], items=items)
    assert turned.ids == whole.ids[::-1]
    assert np.array_equal(turned.features, whole.features[::-1])
    assert np.array_equal(turned.conformity, whole.conformity[::-1])
    for name in whole.extras:
        assert np.array_equal(turned.extras[name], whole.extras[name][::-1])


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_another_batch_size_changes_the_last_bits_at_most(measured, batch):
    first, _ = measured(clips())
    other, _ = measured(clips(), micro_batch=batch)
    np.testing.assert_allclose(other.features, first.features, atol=2e-5)
    np.testing.assert_allclose(other.conformity, first.conformity, atol=1e-6)
    for name in first.extras:
        np.testing.assert_allclose(other.extras[name], first.extras[name], atol=1e-4)


def test_without_conditions_there_is_no_conformity(measured):
    found, _ = measured(clips(), conditions=False)
    assert found.conformity.shape == (5, 0) and not found.has("pic") and found.has("motion")


def test_no_clips_leave_no_rows_of_the_right_width(measured):
    found, out = measured(np.zeros((0, 8, 32, 32, 3), np.uint8))
    assert found.features.shape == (0, 64) and found.conformity.shape == (0, 8)
    assert found.extras["motion"].shape == (0,) and json.loads((out / "motions.json").read_text()) == []


def test_clips_that_do_not_allow_a_measure_go_without_it(measured):
    short, _ = measured(clips(t=3))
    assert set(short.extras) == {"consistency", "alignment"}  # flow needs 4 frames
    silent, _ = measured(clips(n=2), prompts=["", "a red square"])
    assert set(silent.extras) == {"motion", "consistency"}
    bare, _ = measured(clips(n=2), motion=False, clip=None, image=None)
    assert bare.extras == {} and bare.conformity.shape == (2, 0)


def test_a_clip_without_a_condition_is_named(measured):
    with pytest.raises(ValueError, match="no condition frame of 'elsewhere'"):
        measured(clips(n=2), items=[{"id": "v0", "prompt": "x"}, {"id": "v1", "condition": "elsewhere", "prompt": "x"}])


def test_the_condition_of_another_clip_can_be_asked_for(measured):
    """The baseline "another": scored as what it is, asked for what it is not."""
    own, _ = measured(clips(n=2))
    crossed = [{"id": f"v{k}", "condition": f"v{1 - k}", "prompt": "x"} for k in range(2)]
    other, _ = measured(clips(n=2), items=crossed)
    assert not np.allclose(own.conformity, other.conformity)
    distances = open_distances("tiny-perceptual", FILES, 4, "cpu")
    want = conformity(clips(n=2), clips(6, seed=9)[1::-1, 0], distances)
    np.testing.assert_allclose(other.conformity, want, atol=1e-12)


# ---- networks by name ----


def test_large_and_long_clips_are_brought_to_what_the_small_networks_see():
    long = clips(n=2, t=16)
    picked = torch.from_numpy(long[:, [0, 2, 4, 6, 9, 11, 13, 15]])
    assert torch.equal(shown("as_made", 32)(torch.from_numpy(long)), unit_range(picked))
    assert torch.equal(as_made(torch.from_numpy(clips())), unit_range(torch.from_numpy(clips())))
    assert as_made(torch.from_numpy(clips(t=1, size=48)[:, 0])).shape == (5, 3, 32, 32)
    flat = np.broadcast_to(clips(n=2, t=8, size=1), (2, 8, 64, 96, 3))
    small = np.ascontiguousarray(flat[:, :, :32, :32])
    net = open_video(VIDEO, FILES, 2, "cpu")
    np.testing.assert_allclose(net.features(np.ascontiguousarray(flat)), net.features(small), atol=1e-4)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_can_be_shown_to_the_small_network(name):
    net = open_video({**VIDEO, "input": name}, FILES, 2, "cpu")
    found = net.features(clips(n=2))
    same = np.allclose(found, open_video(VIDEO, FILES, 2, "cpu").features(clips(n=2)), atol=1e-3)
    assert found.shape == (2, 64) and same == (name != "shortside_crop_videogpt_half_range")


def test_real_clips_may_be_cut_off_on_their_way():
    levels = cut_off()
    assert levels[0] == 0 and levels[64:].tolist() == list(range(64, 256)) and levels[1:64].tolist() == list(range(63))
    torch_way = ((torch.arange(256).float() / 255 - 0.5) * 2 + 1) * 255 / 2  # LVDM's, by way of [-1, 1]
    assert torch_way.int().tolist() == levels.tolist()
    plain, cut = (open_video({**VIDEO, "bytes": b}, FILES, 2, "cpu") for b in LEVELS)
    assert cut.levels is not None and plain.levels is None and TRUNCATED in LEVELS
    dark = clips(n=2) // 4
    assert np.array_equal(cut.features(dark), plain.features(levels[dark])) and not np.array_equal(
        cut.features(dark), plain.features(dark)
    )


def test_i3d_is_opened_with_its_epsilon_and_shown_224_pixels(tmp_path):
    torch.manual_seed(0)
    net, state = I3D(1e-3), {}
    for own, (names, _) in entries().items():
        state[names[0]] = net.state_dict()[own]
    path = tmp_path / "i3d.safetensors"
    save_tensors(state, path)
    config = {"network": "i3d-k400", "input": "direct_bilinear", "eps": 1e-5, "bytes": "as they are"}
    opened = open_video(config, {"i3d": path}, 1, "cpu")
    assert {m.eps for m in opened.net.modules() if isinstance(m, torch.nn.BatchNorm3d)} == {1e-5}
    frames = clips(n=1, t=9, size=40)
    assert opened.show(torch.from_numpy(frames)).shape == (1, 3, 9, 224, 224)
    found = opened.features(frames)
    with torch.no_grad():
        want = I3D(1e-5).eval()
        want.load_state_dict(net.state_dict())
        answer = want(PIPELINES["direct_bilinear"](torch.from_numpy(frames), 224)).numpy()
    np.testing.assert_allclose(found, answer, atol=1e-5)


def test_lpips_looks_at_pairs(tmp_path):
    import torchvision

    torch.manual_seed(0)
    path = tmp_path / "alex.safetensors"
    trunk = torchvision.models.alexnet(weights=None).features
    save_tensors({f"features.{name}": tensor for name, tensor in trunk.state_dict().items()}, path)
    distances = open_distances("lpips-alex", {"lpips": path}, 4, "cpu")
    assert isinstance(distances, Pairwise)
    found = conformity(clips(n=2, t=2), clips(n=2, t=2)[:, 1], distances)
    assert found.shape == (2, 2) and found[:, 1] == pytest.approx(1.0) and (found[:, 0] < 1).all()


def test_embeddings_are_asked_for_once_per_image(monkeypatch):
    asked = []
    distances = Embedded(lambda images: (asked.append(len(images)), images.reshape(len(images), -1).astype(float))[1])
    conformity(clips(n=3, t=5, size=4), clips(n=3, t=1, size=4)[:, 0], distances)
    assert asked == [3, 15]


def test_networks_that_are_not_known_are_named():
    with pytest.raises(ValueError, match="measuring network is 'c3d'; known: tiny-i3d, i3d-k400"):
        open_video({**VIDEO, "network": "c3d"}, FILES, 2, "cpu")
    with pytest.raises(ValueError, match="known: tiny-perceptual, lpips-alex"):
        open_distances("ssim", FILES, 2, "cpu")
    with pytest.raises(ValueError, match="pipeline is 'crop'; known: as_made, direct_bilinear"):
        shown("crop", 32)


def test_large_networks_see_more_images_at_once_than_clips():
    pair = extractors.open_clip_pair("tiny-clip", CLIP["towers"], FILES["clip"], 2, "cpu")
    assert pair.micro_batch == IMAGES
    words = [f"word {k}" for k in range(IMAGES + 3)]
    assert np.array_equal(pair.prompts(words)[-1:], pair.prompts(words[-1:]))
    assert pair.frames(clips(n=2)).shape == (2, 8, 64)


def test_float32_is_exact_inside_and_as_before_outside():
    before = torch.backends.cudnn.allow_tf32
    with extractors.exact():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
