"""Features: of the right thing, and of each clip alone."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.metrics.extract import Embedded, Pairwise, conformity, cosine_distance, image_features, video_features
from bench.metrics.networks import PerceptualNet, VideoClassifier


def clips(n=7, seed=0, t=8, size=32):
    return np.random.default_rng(seed).integers(0, 256, (n, t, size, size, 3), dtype=np.uint8)


def by(net, batch=4):
    """Distances between the embeddings of a network."""
    return Embedded(lambda images: image_features(images, net, batch))


class Means(nn.Module):
    """Mean of each channel and first pixel: shows layout and range."""

    def forward(self, x):
        first = x[:, :, 0, 0, 1] if x.ndim == 5 else x[:, :, 0, 1]
        return torch.cat([x.flatten(2).mean(2), first], 1)


def test_pixels_arrive_as_channels_first_in_minus_one_to_one():
    frames = np.zeros((2, 3, 4, 5, 3), np.uint8)
    frames[1] = 255
    frames[0, 0, 0, 1] = (255, 0, 51)
    found = video_features(frames, Means().eval(), 2)
    assert found.dtype == np.float64 and found.shape == (2, 6)
    assert found[1].tolist() == [1.0] * 6
    assert found[0, 3:] == pytest.approx([1.0, -1.0, -0.6])


def test_every_batch_has_one_shape():
    seen = []

    class Spy(Means):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return super().forward(x)

    for n in (1, 4, 7):
        assert len(video_features(clips(n, t=2, size=4), Spy().eval(), 4)) == n
    assert set(seen) == {(4, 3, 2, 4, 4)} and len(seen) == 4


@pytest.mark.parametrize("net", [VideoClassifier, PerceptualNet])
def test_a_row_depends_on_its_own_clip_alone(net):
    torch.manual_seed(0)
    module, frames = net().eval(), clips()
    shown = frames if net is VideoClassifier else frames[:, 0]
    extract = video_features if net is VideoClassifier else image_features
    whole = extract(shown, module, 4)
    assert whole.shape == (7, 64)
    assert np.array_equal(extract(shown[:2], module, 4), whole[:2])  # fewer clips
    assert np.array_equal(extract(shown[::-1], module, 4)[::-1], whole)  # other places, other neighbours
    np.testing.assert_allclose(extract(shown, module, 3), whole, atol=1e-5)


def test_conformity_is_one_minus_the_distance_to_the_input():
    torch.manual_seed(0)
    net, frames = PerceptualNet().eval(), clips(5, t=3)
    found = conformity(frames, frames[:, 0], by(net))
    assert found.shape == (5, 3) and found.dtype == np.float64
    assert found[:, 0] == pytest.approx(1.0, abs=1e-12)
    a, b = (image_features(frames[:, t], net, 4) for t in (0, 2))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found[:, 2], cosine, atol=1e-6)
    shuffled = conformity(frames, frames[::-1, 0], by(net))
    assert not np.allclose(found, shuffled)


def test_a_distance_may_look_at_two_images_at_once():
    """As LPIPS does, which has no embeddings: each frame beside the input of its own clip."""
    frames, seen = clips(3, t=2, size=4), []

    def distance(a, b):
        seen.append((a, b))
        return np.abs(a.astype(float) - b).mean((1, 2, 3))

    found = conformity(frames, frames[:, 1], Pairwise(distance))
    ((inputs, shown),) = seen
    assert np.array_equal(shown, frames.reshape(6, 4, 4, 3)) and np.array_equal(inputs[4], frames[2, 1])
    assert found[:, 1].tolist() == [1.0] * 3 and (found[:, 0] < 0).all()
    want = 1 - np.abs(frames[1, 0].astype(float) - frames[1, 1]).mean()
    assert found[1, 0] == pytest.approx(want)


def test_cosine_distance_by_hand():
    a, b = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert cosine_distance(a, b).tolist() == [0.0, 2.0, 1.0]


def test_no_clips_give_no_rows_of_the_right_width():
    torch.manual_seed(0)
    none = clips(0)
    assert video_features(none, VideoClassifier().eval(), 4).shape == (0, 64)
    assert conformity(none, none[:, 0], by(PerceptualNet().eval())).shape == (0, 8)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda: video_features(clips(2) / 255, VideoClassifier().eval(), 2), "float64; wanted"),
        (lambda: video_features(clips(2)[:, 0], VideoClassifier().eval(), 2), r"wanted \(N, T, H, W, 3\)"),
        (lambda: video_features(clips(2), VideoClassifier(), 2), "training mode"),
        (lambda: video_features(clips(2), VideoClassifier().eval(), 0), "micro_batch is 0"),
        (lambda: video_features(clips(2), nn.Identity().eval(), 2), r"wanted \(B, D\)"),
        (lambda: conformity(clips(2), clips(3)[:, 0], by(PerceptualNet().eval())), "do not fit"),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken, words):
    with pytest.raises(ValueError, match=words):
        broken()
