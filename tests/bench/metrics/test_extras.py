"""Motion, consistency and alignment: right where the truth is known, and not fooled by flicker."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bench.metrics.alignment import text_alignment
from bench.metrics.consistency import temporal_consistency
from bench.metrics.motion import motion_magnitude, motion_magnitudes, optical_flow
from datasets.procedural import DIRECTIONS, HEIGHT, WIDTH, render, sample_scene

STRIDE, FRAMES = 3, 8


def scenes(count=8, motions=tuple(DIRECTIONS), seed=0):
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, motion=motions[i % len(motions)]) for i in range(count)]


def clip(scene, size=HEIGHT, pace=1.0):
    """(FRAMES, size, size, 3): the centre crop, every third source frame; `pace` times the scene's own speed."""
    left = size * (WIDTH - HEIGHT) // HEIGHT // 2
    drawn = render(replace(scene, speed=pace * scene.speed), STRIDE * (FRAMES - 1) + 1, size, size * WIDTH // HEIGHT)
    return drawn[::STRIDE, :, left : left + size]


def still(scene):
    return np.repeat(clip(scene)[:1], FRAMES, axis=0)


def noise(frames, rng, levels=30):
    return np.clip(frames + rng.normal(0, levels, frames.shape), 0, 255).astype(np.uint8)


def pulse(frames, rng, amount=0.4):
    """Light that pulses: another gain and offset in each frame."""
    gain, offset = rng.uniform(-amount, amount, (2, len(frames), 1, 1, 1))
    return np.clip(frames * (1 + gain) + 60 * offset, 0, 255).astype(np.uint8)


def flicker(frames, rng):
    return noise(pulse(frames, rng), rng)


def frame_difference(frames):
    """What must not be used: mean absolute difference of neighbours, in levels."""
    return float(np.abs(np.diff(frames.astype(float), axis=0)).mean())


def measured(change, measure=motion_magnitude, count=8):
    return np.array([measure(change(scene)) for scene in scenes(count)])


# ---- motion ----


def test_faster_scenes_have_more_motion_in_proportion():
    speeds = np.array([measured(lambda s, p=pace: clip(s, pace=p)) for pace in (0.25, 0.5, 0.75, 1.0)])
    assert (np.diff(speeds, axis=0) > 0).all()
    assert (speeds[1] / speeds[3]).mean() == pytest.approx(0.5, abs=0.06)
    assert (speeds[0] / speeds[3]).mean() == pytest.approx(0.25, abs=0.06)


def gliding(x, y=0):
    """A textured picture that moves by (x, y) pixels a frame, 64 x 64."""
    blocks = np.random.default_rng(0).integers(40, 215, (20, 24, 3))
    wide = ndimage.gaussian_filter(np.kron(blocks, np.ones((8, 8, 1))), (3, 3, 0))
    return np.stack([wide[20 + y * t : 84 + y * t, 20 + x * t : 84 + x * t] for t in range(8)]).astype(np.uint8)


@pytest.mark.parametrize(("x", "y", "within"), [(1, 0, 0.05), (2, 1, 0.05), (4, 0, 0.06), (6, 0, 0.15)])
def test_a_gliding_picture_has_its_speed(x, y, within):
    """Pixels a frame over a diagonal of 64 root 2."""
    assert motion_magnitude(gliding(x, y)) == pytest.approx(100 * np.hypot(x, y) / (64 * 2**0.5), rel=within)


def test_flow_points_where_the_picture_goes():
    light = gliding(2, 1)[..., 1] / 60.0
    flow = optical_flow(light[:-1], light[1:])[:, :, 12:-12, 12:-12]
    np.testing.assert_allclose(flow.mean(axis=(1, 2, 3)), [-2.0, -1.0], atol=0.08)


def test_still_clips_do_not_move():
    assert measured(still).tolist() == [0.0] * 8


@pytest.mark.parametrize("change", [noise, pulse, flicker])
def test_flicker_is_not_motion_although_frame_differences_say_so(change):
    rng = np.random.default_rng(1)
    flickering, moving = measured(lambda s: change(still(s), rng), count=24), measured(clip)
    assert abs(flickering.mean()) < 0.1 * moving.mean()  # still clips scatter about 0
    assert abs(flickering).mean() < 0.3 * moving.mean()
    naive = [measured(lambda s: change(still(s), rng), frame_difference), measured(clip, frame_difference)]
    assert naive[0].mean() > 2 * naive[1].mean()  # the wrong way round, by far


def test_motion_is_still_seen_under_flicker():
    rng = np.random.default_rng(2)
    found = measured(lambda s: noise(pulse(clip(s), rng, 0.2), rng, 15))
    assert (found > 0.3 * measured(clip)).all()
    assert found.mean() > 0.6 * measured(clip).mean()


@pytest.mark.parametrize("size", [64, 128])
def test_motion_does_not_depend_on_the_resolution(size):
    np.testing.assert_allclose(measured(lambda s: clip(s, size), count=4), measured(clip, count=4), rtol=0.12)


def test_there_and_back_is_as_fast_as_there():
    one = clip(scenes()[0])
    assert motion_magnitude(one[::-1]) == pytest.approx(motion_magnitude(one), rel=1e-6)
    assert motion_magnitude(one[:, ::-1]) == pytest.approx(motion_magnitude(one), rel=0.05)


def test_growing_is_motion_too():
    found = [motion_magnitude(clip(s)) for s in scenes(6, ("Growing", "Shrinking"))]
    assert min(found) > 0.2


@pytest.mark.parametrize("shape", [(4, 20, 90, 3), (5, 9, 8, 3), (4, 8, 900, 3)])
def test_odd_sizes_and_the_shortest_clips_have_an_answer(shape):
    flat = np.full(shape, 128, np.uint8)
    assert motion_magnitude(flat) == 0.0
    assert np.isfinite(motion_magnitude(flicker(flat, np.random.default_rng(0))))


def test_clips_beside_it_do_not_change_a_clip():
    rng = np.random.default_rng(5)
    clips = np.stack([flicker(clip(scene, 40), rng) for scene in scenes(5)])
    together = motion_magnitudes(clips)
    assert together.tolist() == [motion_magnitude(one) for one in clips]
    assert motion_magnitudes(clips[::-1])[::-1].tolist() == together.tolist()
    assert motion_magnitudes(clips[:0]).shape == (0,)


# ---- consistency and alignment ----


def test_consistency_by_hand():
    turning = [[1, 0], [0, 1], [-1, 0]]  # a right angle each time
    frozen = [[2, 1], [4, 2], [1, 0.5]]
    lost = [[1, 0], [0, 0], [0, 1]]
    assert temporal_consistency([turning, frozen, lost]).tolist() == pytest.approx([0.0, 1.0, 0.0])
    half = [[[1, 0], [1, 0], [-1, 0]]]
    assert temporal_consistency(half).tolist() == pytest.approx([0.0])


def test_alignment_by_hand():
    frames = [[[3, 0], [0, 1]], [[1, 1], [-1, -1]], [[2, 2], [1, 1]]]
    assert text_alignment(frames, [[1, 0], [1, 0], [5, 5]]).tolist() == pytest.approx([50.0, 0.0, 100.0])


def test_scale_of_embeddings_does_not_matter_and_order_does_only_for_consistency():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(5, 6, 4)), rng.normal(size=(5, 4))
    np.testing.assert_allclose(temporal_consistency(image * 7), temporal_consistency(image))
    np.testing.assert_allclose(text_alignment(image * 7, text * 0.1), text_alignment(image, text))
    shuffled = image[:, [3, 0, 5, 1, 4, 2]]
    np.testing.assert_allclose(text_alignment(shuffled, text), text_alignment(image, text))
    assert not np.allclose(temporal_consistency(shuffled), temporal_consistency(image))


def test_no_clips_give_no_values():
    assert temporal_consistency(np.zeros((0, 3, 4))).shape == (0,)
    assert text_alignment(np.zeros((0, 3, 4)), np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize(
    "broken, words",
    [
        (lambda: motion_magnitude(np.zeros((3, 8, 8, 3), np.uint8)), r"3 frames of \(8, 8\); wanted 4 or more"),
        (lambda: motion_magnitude(np.zeros((5, 7, 9, 3), np.uint8)), "of 8 pixels a side"),
        (lambda: motion_magnitude(np.zeros((5, 8, 8, 3))), r"float64; wanted \(N, T, H, W, 3\) uint8"),
        (lambda: motion_magnitude(np.zeros((5, 8, 8), np.uint8)), r"\(1, 5, 8, 8\) uint8; wanted"),
        (lambda: temporal_consistency(np.zeros((2, 1, 4))), "clips of 1 frames; wanted 2 or more"),
        (lambda: temporal_consistency(np.zeros((2, 4))), r"wanted \(N, T, E\)"),
        (lambda: temporal_consistency(np.full((2, 3, 4), np.nan)), "not finite in clip 0 \\(2 of 2"),
        (lambda: text_alignment(np.zeros((2, 3, 4)), np.zeros((2, 5))), r"wanted \(N, 4\)"),
        (lambda: text_alignment(np.zeros((2, 3, 4)), np.zeros((3, 4))), "3 prompts; wanted as many"),
        (lambda: text_alignment(np.zeros((2, 0, 4)), np.zeros((2, 4))), "and frames"),
    ],
)
def test_what_cannot_be_is_refused_by_name(broken, words):
    with pytest.raises(ValueError, match=words):
        broken()
