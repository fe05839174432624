"""Forms of other public code inside our scores: their values, what one video adds, and how the interval says so."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from bench import protocol
from bench.metrics import averages, forms
from bench.metrics.forms import ESTIMATORS, frechet_form, kernel_form
from bench.metrics.frechet import frechet_from_features
from bench.metrics.kernel import CUBIC, kernel_distance, streamed_distance
from bench.metrics.memory import FEW, MANY, measure
from bench.metrics.roots import ROOTS, frechet_by
from bench.metrics.rowfile import RowReader, RowWriter
from bench.metrics.uncertainty import COMPARED, METRICS, Settings, TooFew, estimate, over_videos
from bench.protocols.dialects import DIALECTS
from bench.steps import aggregate, score
from tests.bench.metrics.worlds import World
from tests.bench.test_protocol import PROFILE, TINY_NETWORKS

DIALECT_NAMES = tuple(DIALECTS)


def world(n=40, **given):
    (made,), reference = World(n=n, dim=6, **given).draw(np.random.default_rng(0))
    return made[0], reference


def scoring(name):
    return protocol.Scoring.read(protocol.resolve(name, PROFILE, TINY_NETWORKS).config)


@pytest.mark.parametrize("root", ROOTS)
def test_fvd_has_the_value_of_its_root_and_the_spread_of_the_stable_form(root):
    made, reference = world()
    stable, other = (estimate("fvd", made, reference, settings=Settings(root=r)) for r in ("nuclear norm", root))
    assert other.moved == pytest.approx(other.value - stable.value, abs=1e-9)
    if root != "float32 svd":
        assert abs(other.moved) < 1e-4 and np.array_equal(other.influence, stable.influence)
        assert other.value == frechet_by(root, made.features, reference.features, 1)
    np.testing.assert_allclose(np.sort(other.influence), np.sort(stable.influence), rtol=1e-6, atol=1e-9)
    a, b = over_videos(other), over_videos(stable)
    assert a.high - a.low == pytest.approx(b.high - b.low, rel=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_kvd_has_the_value_of_its_estimator_and_scale(estimator):
    made, reference = world()
    once, thousand = (
        estimate("kvd", made, reference, settings=Settings(estimator=estimator, scale=s)) for s in (1.0, 1000.0)
    )
    rows = (
        (made.by_name().features, reference.by_name().features) if once.moved else (made.features, reference.features)
    )
    assert once.value == pytest.approx(ESTIMATORS[estimator](*rows, CUBIC), rel=1e-6)
    assert thousand.value == pytest.approx(1000 * once.value) and thousand.moved == pytest.approx(1000 * once.moved)
    np.testing.assert_allclose(thousand.influence, 1000 * once.influence, rtol=1e-9)


def test_a_video_left_out_of_its_block_changes_that_block_alone(monkeypatch):
    monkeypatch.setattr(forms, "BLOCK", 16)
    made, reference = world()
    x, y = made.features, reference.features
    form = kernel_form(x, y, "blocks of 1024, float32", CUBIC, 2.0)
    assert form.value == pytest.approx(2 * averages.block_distances(y, x, 16).mean(), rel=1e-5)
    assert form.base == pytest.approx(form.value, rel=1e-5)
    parts = [(x[a:b], y[a:b]) for (a, b) in forms._edges(40, 3)]
    assert [len(a) for a, _ in parts] == [13, 13, 14]
    units = [(np.array([0, 14]), np.array([], int)), (np.array([39]), np.array([39]))]
    (a, b), (c, d), (e, f) = parts
    whole = [kernel_distance(one, other) for one, other in parts]
    want = [
        np.mean([kernel_distance(a[1:], b), kernel_distance(np.delete(c, 1, 0), d), whole[2]]),
        np.mean([whole[0], whole[1], kernel_distance(e[:-1], f[:-1])]),
    ]
    np.testing.assert_allclose(form.leave_out(units), 2 * np.array(want), rtol=1e-9)


def test_blocks_scatter_more_than_all_samples_together(monkeypatch):
    monkeypatch.setattr(forms, "BLOCK", 10)
    made, reference = world()
    whole, blocks = (
        estimate("kvd", made, reference, settings=Settings(estimator=e))
        for e in ("unbiased", "blocks of 1024, float32")
    )
    assert blocks.spread().variance > whole.spread().variance


@pytest.mark.parametrize("name", [*DIALECT_NAMES, "tiny/v1"])
def test_the_order_of_the_videos_changes_nothing(name):
    made, reference = world(n=30)
    order = np.random.default_rng(3).permutation(30)
    first = score.score(made, reference, scoring(name))
    again = score.score(made.take(order), reference.take(order[::-1]), scoring(name))
    assert [one["metric"] for one in first] == [m for m in METRICS if m in scoring(name).networks and made.has(m)]
    for one, other in zip(first, again, strict=True):
        exact = 1e-9 if name == "tiny/v1" else 1e-7
        assert [one[k] for k in ("value", "low", "high")] == pytest.approx(
            [other[k] for k in ("value", "low", "high")], rel=exact, abs=1e-9
        )


@pytest.mark.parametrize("name", DIALECT_NAMES)
def test_a_dialects_records_say_what_they_are(name):
    made, reference = world(n=30)
    told = {one["metric"]: one for one in score.score(made, reference, scoring(name))}
    assert set(told) == set(scoring(name).networks) <= set(COMPARED)
    for one in told.values():
        assert one["protocol"] == name and not one["comparable"] and one["features"] == "tiny-i3d"
        assert any("stands in for i3d-k400" in note for note in one["notes"])
        assert one["fingerprints"]["protocol"] == scoring(name).hash
    single = scoring(name).settings.root == "float32 svd"
    assert any("single precision adds" in note for note in told["fvd"]["notes"]) == single


def test_what_a_dialect_does_not_score_is_undecided_and_not_a_crash():
    from bench.steps.claims import Court

    (made, other), reference = World(n=30, dim=6, seeds=3, variants=2).draw(np.random.default_rng(0))
    court = Court({"a": made, "b": other}, reference, scoring("cd-fvd"))
    assert court.hear({"metric": "pic", "better": ["a", "b"]}).notes == ("cd-fvd/v1 does not score pic",)
    assert court.hear({"metric": "fvd", "better": ["a", "b"]}).effect is not None


# ---- beside the three ----


def with_extras(sample, seed=0):
    rng = np.random.default_rng(seed)
    extras = {"motion": rng.normal(2, 1, len(sample)), "alignment": rng.normal(25, 3, len(sample))}
    return replace(sample, extras=extras)


def test_what_else_was_measured_has_records_with_intervals():
    made, reference = (with_extras(one, seed) for seed, one in enumerate(world()))
    told = {one["metric"]: one for one in score.score(made, reference, scoring("tiny/v1"))}
    assert list(told) == ["fvd", "kvd", "pic", "motion", "alignment"]  # consistency was not measured
    motion = told["motion"]
    assert motion["value"] == pytest.approx(made.extras["motion"].mean()) and motion["features"] == "optical-flow"
    half = (motion["high"] - motion["low"]) / 2
    assert half == pytest.approx(2.02 * made.extras["motion"].std(ddof=1) / 40**0.5, rel=0.1)
    assert f"the real clips have {reference.extras['motion'].mean():.4g}" in motion["notes"]
    assert told["alignment"]["features"] == "tiny-clip" and "generated; jackknife" in motion["interval"]


def test_seeds_count_for_what_else_was_measured_too():
    (seeds,), reference = World(n=30, dim=6, seeds=3).draw(np.random.default_rng(0))
    made = [with_extras(one, k) for k, one in enumerate(seeds)]
    told = {one["metric"]: one for one in aggregate.aggregate(made, reference, scoring("tiny/v1"))}
    assert "3 training seeds" in told["motion"]["interval"] and "the real clips" not in str(told["motion"]["notes"])
    assert told["motion"]["value"] == pytest.approx(np.mean([one.extras["motion"].mean() for one in made]))


def test_without_real_clips_only_what_needs_none_is_scored():
    made, _ = world()
    told = [one["metric"] for one in score.score(with_extras(made), None, scoring("tiny/v1"))]
    assert told == ["pic", "motion", "alignment"]
    blind = replace(made, conformity=np.zeros((40, 0)))
    assert score.score(blind, None, scoring("tiny/v1")) == []
    with pytest.raises(TooFew, match="FVD needs real clips"):
        estimate("fvd", made, None)
    with pytest.raises(TooFew, match="motion was not measured"):
        estimate("motion", made, None)


def test_a_network_that_stands_in_is_no_reason_against_the_others():
    made, reference = world()
    scored = scoring("dynamicrafter-256/v1")
    told = {one["metric"]: one for one in score.score(with_extras(made), reference, scored)}
    assert any("tiny-perceptual stands in for dreamsim" in note for note in told["pic"]["notes"])
    assert not any("stands in" in note for note in told["motion"]["notes"])


# ---- streams ----


def test_a_file_of_rows_is_read_as_it_was_written(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(1100, 5)), np.arange(1100.0)
    path = tmp_path / "x.safetensors"
    with RowWriter(path, {"features": (1100, 5), "motion": (1100,)}) as writer:
        for start in range(0, 1100, 300):
            writer.write("features", start, x[start : start + 300])
            writer.write("motion", start, y[start : start + 300])
        with pytest.raises(ValueError, match="do not fit"):
            writer.write("features", 1099, x[:2])
    from safetensors.numpy import load_file

    found = load_file(path)
    assert np.array_equal(found["features"], x) and np.array_equal(found["motion"], y)
    with RowReader(path, "features") as rows:
        assert len(rows) == 1100 and np.array_equal(rows.read(1000, 2000), x[1000:])
        assert rows.read(5, 5).shape == (0, 5) and rows.first(7) == x[7, 0]
        assert streamed_distance(rows, rows) == pytest.approx(kernel_distance(x, x), rel=1e-12)
        with pytest.raises(IndexError, match="row 1100 of 1100"):
            rows.first(1100)


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda b: b[:-8], "cut short"),
        (lambda b: b"\xff" * 8 + b[8:], "not a safetensors file"),
        (lambda b: b.replace(b"F64", b"F16"), "no array 'features' of a known kind"),
        (lambda b: b.replace(b"features", b"otherise"), "no array 'features'"),
    ],
)
def test_a_damaged_file_of_rows_is_refused(tmp_path, damage, words):
    path = tmp_path / "x.safetensors"
    with RowWriter(path, {"features": (4, 2)}) as writer:
        writer.write("features", 0, np.zeros((4, 2)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        RowReader(path, "features")


def test_streamed_sums_are_those_of_all_at_once(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(700, 4)), np.random.default_rng(1).normal(size=(530, 4)) + 0.2
    readers = []
    for name, rows in (("x", x), ("y", y)):
        with RowWriter(tmp_path / name, {"features": rows.shape}) as writer:
            writer.write("features", 0, rows)
        readers.append(RowReader(tmp_path / name, "features"))
    assert streamed_distance(*readers) == pytest.approx(kernel_distance(x, y), rel=1e-11)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("part", ["fvd", "kvd"])
def test_memory_does_not_grow_with_the_number_of_batches(part):
    assert measure(part, MANY) - measure(part, FEW) < 8  # MB; all features are 17 MB a side


def test_json_of_a_record_is_stable():
    made, reference = world()
    told = [json.dumps(score.score(made, reference, scoring("lvdm"))) for _ in range(2)]
    assert told[0] == told[1] and frechet_form(made.features, reference.features, "sqrtm", 0).base == pytest.approx(
        frechet_from_features(made.features, reference.features, 0)
    )
