"""The models that ship: a clip of the tiny world begins and ends as it was asked to, without any training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.animate import Request, animate
from datasets.procedural import captions, render, sample_scene

CLIPS = 4


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """(real, generated) of clips that were never trained on; generated between the first and the last frame."""
    found, rng = [], np.random.default_rng(5)
    for number in range(CLIPS):
        folder = tmp_path_factory.mktemp("clip")
        scene = sample_scene(rng)
        real = render(scene, 30)[np.arange(8) * 3, :, 4:36]
        for name, frame in (("first", real[0]), ("last", real[-1])):
            Image.fromarray(frame).save(folder / f"{name}.png")
        asked = Request(
            image=folder / "first.png", prompt=captions(scene, rng, 1)[0], out=folder / "out",
            end_image=folder / "last.png", seed=number, device="cpu", store=folder / "store",
        )  # fmt: skip
        animate(asked)
        assert not (folder / "store").exists(), "nothing is trained"
        found.append((real, np.stack([picture(path) for path in sorted((folder / "out").glob("*.png"))])))
    return found


def test_the_last_frame_is_the_end_picture_more_than_any_other(clips) -> None:
    own = [psnr(made[-1], real[-1]) for real, made in clips]
    others = [psnr(made[-1], real[-1]) for (real, _), (_, made) in zip(clips, clips[1:] + clips[:1], strict=True)]
    assert np.mean(own) > 19
    assert np.mean(own) > np.mean(others) + 6


def test_the_clip_moves_from_one_picture_to_the_other(clips) -> None:
    """Nearer to each end at that end: a still picture would fail."""
    for end, other in ((0, -1), (-1, 0)):
        near = np.mean([psnr(made[end], real[end]) for real, made in clips])
        far = np.mean([psnr(made[other], real[end]) for real, made in clips])
        assert near > far + 1


def test_a_clip_that_is_shown_one_picture_begins_there(tmp_path) -> None:
    """The animation model: its first frame is the picture, more than it is another's."""
    rng, begun, given = np.random.default_rng(6), [], []
    for number in range(2):
        scene = sample_scene(rng)
        first = render(scene, 1)[0, :, 4:36]
        Image.fromarray(first).save(tmp_path / f"{number}.png")
        asked = Request(
            image=tmp_path / f"{number}.png", prompt=captions(scene, rng, 1)[0], out=tmp_path / f"out-{number}",
            seed=number, device="cpu", store=tmp_path / "store",
        )  # fmt: skip
        animate(asked)
        begun.append(picture(tmp_path / f"out-{number}" / "000.png"))
        given.append(first)
    assert not (tmp_path / "store").exists(), "nothing is trained"
    own = [psnr(made, wanted) for made, wanted in zip(begun, given, strict=True)]
    assert min(own) > 16
    assert np.mean(own) > np.mean([psnr(begun[0], given[1]), psnr(begun[1], given[0])]) + 4
