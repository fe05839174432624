"""Intervals: the jackknife against refits, two levels, p-values that agree with intervals, few videos, speed."""

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.metrics import uncertainty
from bench.metrics.features import Sample, read_sample, write_sample
from bench.metrics.frechet import frechet_from_features
from bench.metrics.uncertainty import (
    Estimate,
    Interval,
    Part,
    Settings,
    Spread,
    TooFew,
    Units,
    estimate,
    holm,
    over_seeds,
    over_videos,
)
from tests.bench.metrics.worlds import PLAIN, World

METRICS = ("fvd", "kvd", "pic")
SMALL = World(n=40, dim=6)


def draw(world=SMALL, seed=0):
    made, reference = world.draw(np.random.default_rng(seed))
    return made[0][0], reference


def pick(sample, order):
    return Sample(
        sample.features[order],
        sample.conformity[order],
        tuple(sample.ids[i] for i in order),
        tuple(sample.groups[i] for i in order),
    )


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_files_does_not_matter_and_pairs_are_found_by_video(metric):
    made, reference = draw()
    shuffled = pick(made, np.random.default_rng(1).permutation(40))
    found = [over_videos(estimate(metric, one, reference)) for one in (made, shuffled)]
    assert found[1].value == pytest.approx(found[0].value, rel=1e-10)
    assert [found[1].low, found[1].high] == pytest.approx([found[0].low, found[0].high], rel=1e-8)


def test_pairing_by_video_matters():
    made, reference = draw(World(n=80, dim=6))
    strangers = replace(made, ids=tuple(f"other {i}" for i in made.ids))
    paired, apart = (over_videos(estimate("fvd", one, reference)) for one in (made, strangers))
    assert paired.value == apart.value
    assert paired.spread.variance < 0.8 * apart.spread.variance  # what a pair shares cancels


def test_influences_are_those_of_refits():
    made, reference = draw()
    value = frechet_from_features(made.features, reference.features)
    names = Units(made, reference).names
    where = [made.ids.index(name.removeprefix("video ")) for name in names]
    without = [
        frechet_from_features(np.delete(made.features, i, 0), np.delete(reference.features, i, 0)) for i in where
    ]
    want = (value - np.array(without)) * 39 / 40
    want = (want - want.mean()) * np.sqrt(40 / 39)
    np.testing.assert_allclose(estimate("fvd", made, reference).influence, want, atol=1e-6 * abs(want).max())


def test_pic_has_the_textbook_interval_when_videos_are_symmetric():
    values = np.concatenate([np.full(30, 0.4), np.full(30, 0.6)])
    sample = Sample(np.zeros((60, 2)), values[:, None], tuple(map(str, range(60))), (None,) * 60)
    found = over_videos(estimate("pic", sample, sample))
    error = values.std(ddof=1) / np.sqrt(60)
    assert found.value == pytest.approx(0.5)
    assert found.spread.variance == pytest.approx(error**2, rel=0.02)
    assert found.high - 0.5 == pytest.approx(stats.t.ppf(0.975, 59) * error, rel=0.02)


def test_groups_are_left_out_whole():
    """Every video five times over, as a group: the interval is that of the single videos, not root 5 smaller."""
    made, reference = draw(World(n=30, dim=6))
    five = np.repeat(np.arange(30), 5)
    group = tuple(str(i) for i in five)
    many = [replace(pick(one, five), ids=tuple(map(str, range(150))), groups=group) for one in (made, reference)]
    alone, grouped = estimate("pic", made, reference), estimate("pic", *many)
    assert grouped.spread().variance == pytest.approx(alone.spread().variance, rel=1e-6)
    single = estimate("fvd", *(replace(one, groups=(None,) * 150) for one in many))
    assert estimate("fvd", *many).spread().variance > 3 * single.spread().variance


def test_a_clip_of_the_same_video_belongs_to_the_same_unit():
    made, _ = draw()
    twice = replace(made, ids=tuple(f"v{i // 2}" for i in range(40)))
    assert len(Units(twice).names) == 20
    assert len(Units(made, replace(made, ids=tuple(f"x{i}" for i in range(40)))).names) == 80


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_the_same_has_no_difference(metric):
    made, reference = draw()
    one = estimate(metric, made, reference)
    found = over_videos(one - one)
    assert (found.value, found.low, found.high, found.p_above) == (0.0, 0.0, 0.0, 0.5)


def test_a_difference_on_the_same_videos_is_known_better_than_its_parts():
    made, reference = PLAIN.draw(np.random.default_rng(0))
    made = made[0][0]
    nudged = replace(made, features=made.features * 1.02)
    units = Units(made, nudged, reference)
    a, b = (estimate("fvd", one, reference, units) for one in (made, nudged))
    assert (a - b).spread().variance < 0.1 * (a.spread().variance + b.spread().variance)


# ---- few videos ----


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("metric", METRICS)
def test_few_videos_give_what_they_can(metric, n):
    made, reference = draw(World(n=max(n, 1), dim=6))
    made, reference = (pick(one, np.arange(n)) for one in (made, reference))
    if n < (1 if metric == "pic" else 2):
        with pytest.raises(TooFew, match=f"{metric.upper()} needs"):
            estimate(metric, made, reference)
        return
    found = over_videos(estimate(metric, made, reference))
    assert np.isfinite(found.value)
    assert (found.low is not None) == (n >= (2 if metric == "pic" else 3))
    if found.low is not None:
        assert found.low < found.value < found.high


def test_one_group_gives_no_interval():
    made, reference = draw()
    lump = [replace(one, groups=("all",) * 40) for one in (made, reference)]
    found = over_videos(estimate("fvd", *lump))
    assert (found.low, found.high, found.p_above) == (None, None, None)
    assert over_seeds([estimate("fvd", *lump)] * 3).low is None


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="metric is 'fid'; known: fvd, kvd, pic"):
        estimate("fid", *draw())


# ---- two levels ----


def known(value, influence):
    return Estimate(value, np.asarray(influence, float), np.zeros(4))


def test_seeds_that_differ_dominate_with_t_of_two_degrees():
    found = over_seeds([known(v, np.full(100, 1e-6)) for v in (1.0, 2.0, 4.0)])
    error = np.std([1, 2, 4], ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(7 / 3)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) * error, rel=1e-3)


def test_seeds_that_agree_leave_the_interval_of_the_videos():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=100)
    seeds = [known(1.0, shared) for _ in range(3)]
    videos = over_videos(seeds[0])
    found = over_seeds(seeds)
    assert [found.low, found.high] == pytest.approx([videos.low, videos.high], rel=1e-9)
    assert "3 training seeds" in found.words and "fixed" in videos.words


def test_the_second_order_part_is_taken_off_in_part():
    influence = np.tile([0.1, -0.1], 50)  # squares sum to 1
    slight = Estimate(0.0, influence, np.full(4, 1e-3)).spread()  # 4950 pairs: V_2 = 0.00495
    assert slight.variance == pytest.approx(1 - 2 / 3 * 0.00495)
    much = Estimate(0.0, influence, np.full(4, 1.0)).spread()
    assert much.variance == pytest.approx(1 - 2 / 3 * 0.5)
    assert Estimate(0.0, influence).spread().variance == pytest.approx(1.0)


def test_what_videos_put_between_seeds_is_not_counted_twice():
    """Crossed effects by hand: three seeds, influences shared (variance 4) and of their own (variance 3 each)."""
    shared, own = np.zeros(40), np.zeros((3, 40))
    shared[:4] = [1, -1, 1, -1]
    for s in range(3):
        own[s, 10 * (s + 1) : 10 * (s + 1) + 2] = [np.sqrt(1.5), -np.sqrt(1.5)]
    equal = over_seeds([known(5.0, shared + one) for one in own])
    common, between = equal.spread.parts
    assert common.variance == pytest.approx(4.0) and between.variance == 0.0
    videos = over_videos(known(5.0, shared + own.mean(0)))
    assert videos.spread.variance == pytest.approx(4.0 + 1.0)  # 3 / 3 seeds
    assert [equal.low, equal.high] == pytest.approx([videos.low, videos.high])  # never narrower
    apart = over_seeds([known(v, shared + one) for v, one in zip((4.0, 5.0, 9.0), own, strict=True)])
    assert apart.spread.variance == pytest.approx(4.0 + 7.0 / 3)


def test_one_seed_has_the_interval_of_the_videos_and_says_so():
    one = known(1.0, np.random.default_rng(0).normal(size=50))
    assert over_seeds([one]) == over_videos(one)


def test_p_is_where_the_interval_touches_zero():
    rng = np.random.default_rng(3)
    seeds = [known(v, rng.exponential(size=60) / 30) for v in (0.9, 1.3, 1.1)]
    p = over_seeds(seeds).p_above
    touching = over_seeds(seeds, level=1 - 2 * p)
    assert touching.low == pytest.approx(0.0, abs=1e-6)
    flipped = over_seeds([Estimate.combine([-1], [one]) for one in seeds])
    assert flipped.p_above == pytest.approx(1 - p)


def test_skewness_moves_the_interval_towards_the_long_tail():
    seen = np.zeros(50)
    seen[:5] = 1.0  # a few videos pull the value up: without them it would have come out lower
    found = over_videos(known(0.0, seen - seen.mean()))
    assert found.high > -found.low > 0


@pytest.mark.parametrize("t", [0.0, 0.5, 2.0, 12.0, 1e4])
def test_the_tail_turns_the_quantile_round(t):
    spread = Spread((Part(1.0, 40.0), Part(0.5, 2.0)), Part(1.2, 40.0))
    assert spread.tail(t) + spread.tail(-t) == pytest.approx(1.0)
    if 0 < t < 1e4:
        assert spread.quantile(spread.tail(t)) == pytest.approx(t, rel=1e-9)


def test_a_spread_of_one_part_is_students_t():
    assert Spread.of(4.0, 7.0).tail(2.5) == pytest.approx(stats.t.sf(2.5, 7.0), rel=1e-9)


def test_an_interval_without_noise_decides_by_sign():
    sure = [Interval(v, v, v, 0.95, "", Spread.of(0.0, 5.0)) for v in (1.0, 0.0, -1.0)]
    assert [one.p_above for one in sure] == [0.0, 0.5, 1.0]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


# ---- artifacts, settings, speed ----


def test_samples_survive_the_disk_and_name_what_is_wrong(tmp_path):
    made, _ = draw(replace(SMALL, clusters=True))
    write_sample(tmp_path, made)
    back = read_sample(tmp_path)
    assert np.array_equal(back.features, made.features) and (back.ids, back.groups) == (made.ids, made.groups)
    (tmp_path / "items.json").write_text("[]")
    with pytest.raises(ValueError, match=f"{tmp_path.name}: Sample: 40 features, .* 0 ids"):
        read_sample(tmp_path)


def test_settings_reach_the_numbers():
    made, reference = draw()
    given = Settings(ddof=0, kernel=uncertainty.kernel.Polynomial(2), count_first_frame=False)
    for metric in METRICS:
        assert estimate(metric, made, reference).value != estimate(metric, made, reference, None, given).value
    assert estimate("fvd", made, reference, None, given).value == pytest.approx(
        frechet_from_features(made.features, reference.features, 0)
    )


def cpu_seconds(work, times=3):
    def once():
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(times))


def test_an_interval_is_quick():
    made, reference = draw(World(n=192, dim=64))
    assert cpu_seconds(lambda: over_videos(estimate("fvd", made, reference))) < 0.5


@pytest.mark.slow
def test_an_interval_at_full_size_is_quick():
    made, reference = draw(World(n=2048, dim=400))
    assert cpu_seconds(lambda: over_videos(estimate("fvd", made, reference)), 1) < 10
