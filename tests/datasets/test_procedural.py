"""Scenes: what is drawn is what the parameters and the captions say, and it stays in the picture."""

import json

import numpy as np
import pytest

from datasets.procedural import (
    ACCENTS,
    CLASSES,
    COLORS,
    DIRECTIONS,
    HEIGHT,
    MAX_FRAMES,
    MOTIONS,
    SHAPES,
    TEXTURES,
    WIDTH,
    captions,
    class_name,
    class_words,
    render,
    sample_scene,
    truth,
)

LEFT = (WIDTH - HEIGHT) // 2  # columns outside the centre crop, on either side


def rng(seed=0):
    return np.random.default_rng(seed)


def moving(scene, frames=MAX_FRAMES):
    """How far each frame is from the same scene's ground without a sprite, (frames, H, W)."""
    hidden = scene.__class__(**{**truth(scene), "x": -1000.0})
    difference = render(scene, frames).astype(int) - render(hidden, frames)
    return np.abs(difference).sum(-1)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sprite_stays_in_the_centre_crop_and_is_always_seen(shape, motion):
    for seed in range(12):
        scene = sample_scene(rng(seed), shape, motion)
        seen = moving(scene) > 60
        assert not seen[:, :, :LEFT].any() and not seen[:, :, -LEFT:].any()
        area = seen.sum((1, 2))
        assert area.min() >= 6, (seed, area)


@pytest.mark.parametrize("motion", DIRECTIONS)
def test_moving_sprites_move_as_their_class_says(motion):
    for seed in range(8):
        scene = sample_scene(rng(seed), motion=motion)
        weight = moving(scene, 30)
        rows, columns = np.indices(weight.shape[1:])
        y, x = ((weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (rows, columns))
        dx, dy = DIRECTIONS[motion]
        assert x[-1] - x[0] == pytest.approx(dx * 29 * scene.speed, abs=1.5)
        assert y[-1] - y[0] == pytest.approx(dy * 29 * scene.speed, abs=1.5)


@pytest.mark.parametrize("motion, sign", [("Growing", 1), ("Shrinking", -1)])
def test_growing_sprites_grow_and_shrinking_ones_shrink(motion, sign):
    for seed in range(8):
        area = (moving(sample_scene(rng(seed), motion=motion), 30) > 60).sum((1, 2)).astype(int)
        assert sign * (area[-1] - area[0]) > 30


def test_one_generator_state_gives_one_scene_and_one_picture():
    one, two = sample_scene(rng(5)), sample_scene(rng(5))
    assert one == two and one != sample_scene(rng(6))
    np.testing.assert_array_equal(render(one, 9), render(two, 9))
    np.testing.assert_array_equal(render(one, 9), render(one, 20)[:9])


def test_frames_are_bytes_of_the_size_asked_for():
    scene = sample_scene(rng())
    assert render(scene, 3).shape == (3, 32, 40, 3) and render(scene, 3).dtype == np.uint8
    large = render(scene, 3, 64, 80)
    blocks = large.reshape(3, 32, 2, 40, 2, 3).mean((2, 4))
    assert np.abs(blocks - render(scene, 3)).mean() < 3  # the same scene, finer


@pytest.mark.parametrize("frames", [0, MAX_FRAMES + 1])
def test_no_frame_is_drawn_in_which_the_sprite_may_have_left(frames):
    with pytest.raises(ValueError, match=f"frames is {frames}; a scene has 1 to {MAX_FRAMES}"):
        render(sample_scene(rng()), frames)


def test_every_value_of_every_attribute_occurs():
    scenes = [sample_scene(rng(seed)) for seed in range(300)]
    assert {s.shape for s in scenes} == set(SHAPES) and {s.motion for s in scenes} == set(MOTIONS)
    assert {s.color_name for s in scenes} == set(COLORS) and {s.texture for s in scenes} == set(TEXTURES)
    assert {s.accent for s in scenes} == set(ACCENTS) and {class_name(s) for s in scenes} == set(CLASSES)


def test_like_keeps_the_whole_appearance_and_draws_another_place():
    first = sample_scene(rng(1), "circle", "MovingLeft")
    second = sample_scene(rng(2), "circle", "MovingLeft", like=first)
    free = {"x", "y", "radius", "speed"}
    assert {k: v for k, v in truth(first).items() if k not in free} == {
        k: v for k, v in truth(second).items() if k not in free
    }
    assert (first.x, first.y) != (second.x, second.y)


def test_unknown_shapes_and_motions_are_refused():
    with pytest.raises(ValueError, match=r"shape is 'star'. Known: circle"):
        sample_scene(rng(), "star")
    with pytest.raises(ValueError, match=r"motion is 'Spin'. Known: MovingLeft"):
        sample_scene(rng(), None, "Spin")


def test_classes_are_shape_and_motion_in_camel_case():
    assert len(CLASSES) == len(set(CLASSES)) == len(SHAPES) * len(MOTIONS)
    assert "CircleMovingLeft" in CLASSES and class_words("CircleMovingLeft") == "circle moving left"


def test_captions_name_shape_and_motion_sometimes_colour_never_what_an_image_must_tell():
    hidden = {*TEXTURES, *ACCENTS}
    for seed in range(20):
        scene = sample_scene(rng(seed))
        lines = captions(scene, rng(seed), 40)
        assert len(lines) == 40
        colours = 0
        for line in lines:
            words = set(line.split())
            assert scene.shape in words and any(line.endswith(words_of) for words_of in MOTIONS[scene.motion])
            assert not words & hidden and words & set(COLORS) <= {scene.color_name}
            colours += scene.color_name in words
        assert 20 <= colours < 40  # four fifths of them


def test_no_two_motions_share_their_words():
    said = [line for lines in MOTIONS.values() for line in lines]
    assert len(said) == len(set(said))


def test_truth_is_json_and_rebuilds_the_scene():
    scene = sample_scene(rng())
    fields = json.loads(json.dumps(truth(scene)))
    assert fields["motion"] == scene.motion and tuple(fields["color"]) == scene.color
    assert fields.keys() == scene.__dataclass_fields__.keys()


def test_the_sprite_stands_out_from_its_ground():
    for seed in range(50):
        scene = sample_scene(rng(seed))
        assert np.linalg.norm(np.subtract(scene.color, scene.ground)) > 110
        assert np.linalg.norm(np.subtract(scene.color, scene.accent_color)) > 110
