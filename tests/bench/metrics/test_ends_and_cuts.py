"""Where clips end, and cuts: numbers by hand, and what must hold of them."""

import numpy as np
import pytest

from bench.metrics.cuts import cut_consistencies, step_consistencies
from bench.metrics.ends import Ends, end_conformity, loop_closure, step_distance
from bench.metrics.extract import Embedded, Pixels


def light(level: int) -> np.ndarray:
    return np.full((4, 4, 3), level, np.uint8)


def clip(*levels: int) -> np.ndarray:
    return np.stack([light(level) for level in levels])[None]


def angle(images: Pixels) -> np.ndarray:
    """Embeds an image of even light on the circle: its level is the angle in degrees."""
    degrees = np.deg2rad(images[:, 0, 0, 0].astype(float))
    return np.stack([np.cos(degrees), np.sin(degrees)], axis=1)


NET = Embedded(angle)


def test_the_three_distances_by_hand():
    frames = clip(0, 60, 120)
    assert end_conformity(frames, light(60)[None], NET) == pytest.approx([0.5])  # cos 60
    assert loop_closure(frames, NET) == pytest.approx([1.5])  # 1 - cos 120
    assert step_distance(frames, NET) == pytest.approx([0.5])  # twice 1 - cos 60
    assert step_distance(clip(0, 90, 150), NET) == pytest.approx([0.75])  # 1 - cos 90, 1 - cos 60


def test_only_the_last_frame_counts_for_the_ends_and_every_pair_for_the_steps():
    one, other = clip(0, 90, 45), clip(0, 10, 45)
    for score in (lambda c: end_conformity(c, light(30)[None], NET), lambda c: loop_closure(c, NET)):
        assert score(one) == pytest.approx(score(other))
    assert step_distance(one, NET) > step_distance(other, NET) + 0.1


def test_a_loop_closes_and_a_still_clip_is_given_away_by_its_steps():
    assert loop_closure(clip(10, 70, 10), NET) == pytest.approx([0.0], abs=1e-12)
    assert step_distance(clip(10, 70, 10), NET) == pytest.approx([0.5])
    assert step_distance(clip(10, 10, 10), NET) == pytest.approx([0.0], abs=1e-12)


def test_each_clip_has_a_number_of_its_own():
    frames = np.concatenate([clip(0, 60, 120), clip(0, 0, 90)])
    np.testing.assert_allclose(loop_closure(frames, NET), [1.5, 1.0])
    np.testing.assert_allclose(end_conformity(frames, np.stack([light(120), light(0)]), NET), [1.0, 0.0], atol=1e-12)
    assert step_distance(frames, NET).dtype == np.float64


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 frames or more"):
        loop_closure(clip(0), NET)
    with pytest.raises(ValueError, match="2 frames or more"):
        step_distance(clip(0), NET)
    with pytest.raises(ValueError, match="do not fit"):
        end_conformity(clip(0, 1), np.zeros((2, 4, 4, 3), np.uint8), NET)


def test_only_what_was_asked_for_is_measured():
    seen = Ends(("loop_closure", "step_distance"), NET).look(clip(0, 60, 120), light(0)[None])
    assert {name: rows.tolist() for name, rows in seen.items()} == {
        "loop_closure": pytest.approx([1.5]),
        "step_distance": pytest.approx([0.5]),
    }


def test_a_cut_is_between_the_last_and_the_next_first_frame():
    first, second, third = [[1, 0], [1, 1]], [[1, 1]], [[-1, -1], [5, 0], [0, 1]]
    assert cut_consistencies([first, second, third]) == pytest.approx([1.0, -1.0])
    assert step_consistencies([first, second, third]) == pytest.approx([0.5**0.5, -(0.5**0.5), 0.0])
    assert cut_consistencies([first]).tolist() == []


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.zeros(2), np.full((2, 2), np.nan)])
def test_shots_that_cannot_be_compared_are_named(bad):
    with pytest.raises(ValueError, match="cuts: shot 1"):
        cut_consistencies([np.ones((2, 2)), bad])
