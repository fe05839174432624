"""Shortcuts give the numbers of the long way, in the time that is promised, and the table of speeds tells the truth."""

import time

import numpy as np
import pytest
from torch import nn

from bench.metrics import speed
from bench.metrics.extractors import VideoNetwork, shown
from bench.metrics.features import Sample
from bench.metrics.frechet import frechet_from_features, leave_out
from bench.metrics.kernel import kernel_distance
from bench.metrics.uncertainty import Units, estimate, over_videos
from tests.bench.metrics.worlds import golden_features

FULL = {"N": 2048, "D": 400}


@pytest.fixture(scope="module")
def full():
    """Two sets of 2048 features of 400 dimensions, as samples of the same videos."""
    names, conformity = tuple(map(str, range(2048))), np.zeros((2048, 1))
    x, y = (golden_features(seed, wseed=7, **FULL).astype(float) for seed in (1, 2))
    return [Sample(rows, conformity, names, (None,) * 2048) for rows in (1.1 * x, y)]


def test_an_interval_at_full_size_takes_seconds_and_every_influence_is_that_of_a_refit(full):
    """Under 10 processor seconds with the second-order part; a refit of everything would take minutes."""
    made, real = full
    start = time.process_time()
    found = estimate("fvd", made, real)
    interval = over_videos(found)
    assert time.process_time() - start < 10
    assert interval.low < interval.value < interval.high and found.interaction is not None
    rows = [0, 1, 1000, 2047]
    value = frechet_from_features(made.features, real.features)
    refits = [frechet_from_features(np.delete(made.features, row, 0), np.delete(real.features, row, 0)) for row in rows]
    without = leave_out(made.features, real.features, [(np.array([row]),) * 2 for row in rows])
    changes = np.array(refits) - value
    np.testing.assert_allclose(without - value, changes, atol=1e-6 * abs(changes).max())
    place = [Units(made, real).names.index(f"video {row}") for row in rows]
    want = -np.diff(changes) * np.sqrt(2047 / 2048)
    np.testing.assert_allclose(np.diff(found.influence[place]), want, atol=1e-6 * abs(changes).max())


@pytest.mark.parametrize("decades", [0, 3, 6, 9])
def test_a_covariance_is_factored_as_it_is_only_where_that_is_safe(decades):
    """Against singular values of the centred features themselves, which never form a covariance."""
    x, y = (golden_features(seed, 300, 40, 5, decades=decades, shift=0.3 * seed).astype(float) for seed in (1, 2))
    if decades == 9:
        x[:, 20:], y[:, 20:] = x[:, :20], y[:, :20]  # singular
    a, b = ((rows - rows.mean(0)) / np.sqrt(299) for rows in (x, y))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    step = x.mean(0) - y.mean(0)
    want = step @ step + np.sum(a * a) + np.sum(b * b) - 2 * root
    assert frechet_from_features(x, y) == pytest.approx(want, rel=1e-10)
    assert frechet_from_features(x, x) < 1e-12 * np.sum(a * a)


# ---- the table ----


class Means(nn.Module):
    """A network of two numbers a clip."""

    def forward(self, x):
        return x.flatten(2).mean(2)[:, :2]


def test_the_loop_that_we_race_against_computes_the_same():
    clips = np.random.default_rng(0).integers(0, 256, (5, 3, 40, 30, 3), dtype=np.uint8)
    net = Means().eval()
    ours = VideoNetwork("i3d-k400", net, shown("direct_bilinear", 224), 1).features(clips)
    np.testing.assert_allclose(speed.loop(clips, net, batch=2), ours, atol=1e-6)


def test_the_kernel_as_it_is_written_down_is_the_same():
    x, y = golden_features(1, 60, 8, 3).astype(float), golden_features(2, 50, 8, 3).astype(float)
    assert speed.whole(x, y, speed._cubic) == pytest.approx(kernel_distance(x, y))


def test_a_race_tells_the_least_time_the_ratio_and_how_far_apart():
    ticks = iter([0.0, 4.0, 10.0, 15.0, 20.0, 22.0, 30.0, 36.0])  # ours: 4, 2; half of theirs: 5, 6
    race = speed.Race("what", lambda: 2.0, {"theirs": lambda: 2.5}, shares={"theirs": 0.5}, missing={"x": "get x"})
    race.run(2, lambda: next(ticks))
    assert race.rows() == [
        "| what | ours | 2.000 s | 1.00 |  |",
        "| what | theirs | 10.000 s | 5.00 | 2e-01 |",
        "| what | x | get x | | |",
    ]
    rate = speed.Race("what", lambda: 2.0, {}, work=8, unit="clips/s")
    rate.run(1, iter([0.0, 2.0]).__next__)
    assert rate.rows() == ["| what | ours | 4.00 clips/s | 1.00 |  |"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(speed, "VIDEOS", 64)
    monkeypatch.setattr(speed, "FEATURES", 8)
    monkeypatch.setattr(speed, "fix_threads", lambda count: None)


def test_the_command_prints_every_race(small, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["speed", "--clips", "0", "--repeats", "1"])
    speed.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 thread(s), least of 1"
    for what in ("FVD, N", "KVD", "FVD interval"):
        assert any(line.startswith(f"| {what}") and "| ours |" in line for line in lines)
    apart = [line.split("|")[5].strip() for line in lines[3:]]
    assert all(float(one) < 1e-5 for one in apart if one)


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--repeats", "0"], ["--clips", "-1"]])
def test_wrong_options_end_with_2(wrong, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["speed", *wrong])
    with pytest.raises(SystemExit) as stop:
        speed.main()
    assert stop.value.code == 2 and "1 or more" in capsys.readouterr().err
