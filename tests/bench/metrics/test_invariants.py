"""What must hold of every metric, whatever the numbers: identity, symmetry, order, closed forms, growing corruption.

Corruption is tried on the procedural world's clips and, where they are given, on crops of real videos (UCF-101,
MSR-VTT). Clips are compared with themselves, uncorrupted, so that only the corruption can move a score.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.metrics.consistency import temporal_consistency
from bench.metrics.features import EXTRAS, Sample
from bench.metrics.frechet import frechet_distance, frechet_from_features
from bench.metrics.kernel import Polynomial, kernel_distance
from bench.metrics.motion import motion_magnitudes
from bench.metrics.pic import per_video, pic
from bench.metrics.statistics import Statistics
from bench.metrics.uncertainty import METRICS, estimate, over_videos
from tests.bench.metrics.corruptions import CORRUPTIONS, Eyes, procedural_clips, real_clips

UP, DOWN, SAME, NOT_UP, TO_NOTHING = "up", "down", "same", "not up", "to nothing"
RESPONSES = {  # to each corruption as it grows; where a metric may do either, it is not named
    "noise": {"fvd": UP, "kvd": UP, "pic": DOWN, "consistency": DOWN, "motion": NOT_UP},
    "blur": {"fvd": UP, "kvd": UP, "pic": DOWN},
    "shuffle": {"fvd": UP, "kvd": UP, "pic": SAME, "consistency": DOWN},
    "freeze": {"fvd": UP, "kvd": UP, "pic": UP, "consistency": UP, "motion": TO_NOTHING},
}


@pytest.fixture(scope="module")
def eyes():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other
    yield Eyes()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def features():
    """Two sets of 90 features that differ."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 7)), rng.normal(0.3, 1.4, size=(90, 7)) ** 2


@pytest.fixture(scope="module", params=["procedural", "real"])
def scored(request, eyes):
    """{corruption: {metric: [value at each level]}}."""
    if request.param == "procedural":
        clips = procedural_clips(48)
    else:
        data: Path = request.getfixturevalue("real_data")
        files = [*sorted((data / "ucf101").rglob("*.avi")), *sorted((data / "msrvtt").rglob("*.mp4"))]
        clips = real_clips(files, starts=2)
        assert len(clips) > 80
    reference = eyes.sample(clips, clips)
    clean = all_metrics(eyes, clips, clips, reference)
    return {
        name: [clean, *(all_metrics(eyes, corrupt(clips, level), clips, reference) for level in levels)]
        for name, (corrupt, levels) in CORRUPTIONS.items()
    }


def all_metrics(eyes, clips, inputs, reference):
    made = eyes.sample(clips, inputs)
    return {
        "fvd": frechet_from_features(made.features, reference.features),
        "kvd": kernel_distance(made.features, reference.features),
        "pic": pic(made.conformity),
        "consistency": temporal_consistency(eyes.embeddings(clips)).mean(),
        "motion": motion_magnitudes(clips).mean(),
    }


@pytest.mark.parametrize(("corruption", "metric"), [(c, m) for c, said in RESPONSES.items() for m in said])
def test_growing_corruption_moves_each_metric_one_way(scored, corruption, metric):
    found = np.array([level[metric] for level in scored[corruption]])
    steps = np.diff(found)
    right = {
        UP: (steps > 0).all(),
        DOWN: (steps < 0).all(),
        SAME: np.abs(steps).max() < 1e-12,
        NOT_UP: found.max() < 1.25 * found[0],  # frame differences would rise many times over
        TO_NOTHING: found[0] > found[1] > found[-1] == 0 and np.abs(found[2]) < 0.6 * found[0],
    }
    assert right[RESPONSES[corruption][metric]], found


def test_a_frozen_clip_is_perfectly_conform_and_consistent_and_does_not_move(scored):
    """Why neither PIC nor consistency is read without motion, and why `static` is among the baselines."""
    frozen = scored["freeze"][-1]
    assert (frozen["pic"], frozen["consistency"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert frozen["motion"] == 0.0
    assert frozen["fvd"] > 5


def test_identity(features):
    x, _ = features
    scale = np.trace(np.cov(x.T))
    assert frechet_from_features(x, x) < 1e-12 * scale
    assert kernel_distance(x, x, "biased") == pytest.approx(0.0, abs=1e-12)
    assert kernel_distance(x, x) < 0  # unbiased for independent sets: the same set twice is closer than chance
    assert pic(np.ones((4, 5))) == 1.0


def test_distances_are_positive_and_symmetric(features):
    x, y = features
    assert frechet_from_features(x, y) == pytest.approx(frechet_from_features(y, x), rel=1e-12)
    assert frechet_from_features(x, y) > 0.1
    for estimator in ("unbiased", "biased", "u_statistic"):
        assert kernel_distance(x, y, estimator) == pytest.approx(kernel_distance(y, x, estimator), rel=1e-12)


def test_a_shift_and_a_stretch_in_closed_form(features):
    """FVD of x and x + m is |m|^2, of x and s x it is |mean|^2 (s - 1)^2 + tr S (s - 1)^2."""
    x, _ = features
    step = np.arange(7.0)
    assert frechet_from_features(x, x + step) == pytest.approx(step @ step)
    mean, trace = x.mean(0), np.trace(np.cov(x.T))
    assert frechet_from_features(x, 3 * x) == pytest.approx(4 * (mean @ mean + trace))


def test_a_linear_kernel_in_closed_form(features):
    """Biased MMD^2 under x.y / D is the squared distance of the means, over D."""
    x, y = features
    step = x.mean(0) - y.mean(0)
    assert kernel_distance(x, y, "biased", Polynomial(1)) == pytest.approx(step @ step / 7)


def test_the_axes_of_the_features_do_not_matter(features):
    x, y = features
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))[0]
    for distance in (frechet_from_features, kernel_distance):
        assert distance(x @ turn, y @ turn) == pytest.approx(distance(x, y), rel=1e-10)
    assert frechet_from_features(5 * x + 1, 5 * y + 1) == pytest.approx(25 * frechet_from_features(x, y))


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_videos_does_not_matter(metric, features):
    x, y = features
    rng = np.random.default_rng(2)
    conform, order = rng.uniform(size=(90, 4)), rng.permutation(90)
    ids = tuple(map(str, range(90)))
    extras = {name: rng.uniform(size=90) for name in EXTRAS}
    one, real = (Sample(rows, conform, ids, (None,) * 90, extras) for rows in (x, y))
    other = one.take(order)
    found = [over_videos(estimate(metric, made, real)) for made in (one, other)]
    assert found[1].value == pytest.approx(found[0].value, rel=1e-12)
    assert [found[1].low, found[1].high] == pytest.approx([found[0].low, found[0].high], rel=1e-9)


def test_statistics_merged_in_any_order_give_one_distance(features):
    x, y = features
    parts = [Statistics(7).update(x[rows]) for rows in np.array_split(np.random.default_rng(3).permutation(90), 4)]
    whole = Statistics(7)
    for part in parts[::-1]:
        whole.merge(part)
    found = frechet_distance(whole.gaussian(), Statistics(7).update(y).gaussian())
    assert found == pytest.approx(frechet_from_features(x, y), rel=1e-12)


def test_pic_counts_every_frame_once_whatever_its_place():
    rng = np.random.default_rng(4)
    values = rng.uniform(size=(5, 6))
    assert pic(values[:, rng.permutation(6)]) == pytest.approx(pic(values))
    first_out = values[:, [0, *rng.permutation(np.arange(1, 6))]]
    np.testing.assert_allclose(per_video(first_out, False), per_video(values, False))


def test_the_order_of_the_frames_matters_to_the_video_network_alone(eyes):
    clips = procedural_clips(8)
    backwards = clips[:, ::-1]
    one, other = (eyes.sample(frames, clips) for frames in (clips, backwards))
    assert pic(one.conformity) == pytest.approx(pic(other.conformity), rel=1e-12)
    assert np.abs(one.features - other.features).max() > 0.5
