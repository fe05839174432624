"""Two results side by side: what is compared, what is refused with both values, what the numbers are."""

import json
import shutil

import numpy as np
import pytest

from bench.errors import UsageError
from bench.metrics.features import Sample, read_sample
from bench.metrics.judge import judge
from bench.scoring.compare import compare, table, to_json
from bench.scoring.score import ScoreOptions, score
from bench.scoring.sides import subset
from bench.store import Store
from tests.bench.scoring.conftest import SAMPLES, common, edit, quick, records, system
from tests.bench.scoring.made import noise, video


@pytest.fixture(scope="session")
def other(store, conditions, tmp_path_factory):
    """A score of another system, on all conditions but one."""
    out = tmp_path_factory.mktemp("other")
    videos = system(conditions / "ucf101", out / "videos", shift=3, count=SAMPLES - 1)
    options = ScoreOptions(
        videos, common(store, samples=None), ("ucf101=world",), conditions, out=out / "score", name="other"
    )
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        assert score(options) == 0
    return out / "score"


def by_metric(found):
    return {one.metric: one for one in found if one.metric in ("fvd", "kvd", "pic")}


def samples(run, store, variant):
    found, shelf = records(run), Store(store)
    per_seed = [found[variant, "ucf101", "fvd", seed].fingerprints for seed in (0, 1)]
    own = [read_sample(shelf.folder("features", prints["features"])) for prints in per_seed]
    return own, read_sample(shelf.folder("features", per_seed[0]["reference"]))


@pytest.mark.parametrize("metric", ["fvd", "kvd", "pic"])
def test_two_variants_of_a_run_as_a_claim_about_them_is_judged(run, store, metric):
    one = by_metric(compare(f"{run}:full", f"{run}:slow", store))[metric]
    full, reference = samples(run, store, "full")
    slow, _ = samples(run, store, "slow")
    verdict = judge(full, slow, reference, metric)
    sign = -1 if metric in ("fvd", "kvd") else 1
    assert one.difference == pytest.approx(sign * verdict.effect)
    assert sorted([one.low, one.high]) == pytest.approx(sorted([sign * verdict.low, sign * verdict.high]))
    assert one.p == pytest.approx(verdict.p)
    assert (one.seeds, one.n) == (2, SAMPLES)
    assert one.value_a - one.value_b == pytest.approx(one.difference)


def test_turned_round_the_sign_changes_and_nothing_else(run, store):
    ab, ba = (
        by_metric(compare(f"{run}:{a}", f"{run}:{b}", store))["pic"] for a, b in (("full", "slow"), ("slow", "full"))
    )
    assert (ab.difference, ab.low, ab.high) == pytest.approx((-ba.difference, -ba.high, -ba.low))
    assert ab.p == pytest.approx(ba.p)
    assert {ab.better, ba.better} in ({""}, {"A", "B"})


def test_the_same_twice_does_not_differ(run, store):
    for one in compare(f"{run}:full", f"{run}:full", store):
        assert (one.difference, one.better) == (0.0, "")


def test_holm_runs_over_the_whole_table(run, store):
    found = [one for one in compare(f"{run}:full", f"{run}:slow", store) if one.p is not None]
    assert len(found) >= 3
    smallest = min(found, key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(min(1.0, smallest.p * len(found)))


def test_a_score_against_a_run_on_the_videos_that_both_have(run, other, store):
    one = by_metric(compare(f"{run}:full", str(other), store))["fvd"]
    assert (one.a, one.b, one.n, one.seeds) == ("toy:full", "score:other", SAMPLES - 1, 2)
    assert any("compared on the 5 videos that both have" in note for note in one.notes)
    assert any("one set of clips against 2 training seeds" in note for note in one.notes)


def test_runs_of_several_variants_are_paired_by_name(run, store):
    found = compare(str(run), str(run), store)
    assert {(one.a, one.b) for one in found} == {("toy:full", "toy:full"), ("toy:slow", "toy:slow")}


def test_an_unknown_or_ambiguous_variant_is_refused(run, other, store):
    with pytest.raises(UsageError, match=r"Known: full, slow.* Did you mean 'full'"):
        compare(f"{run}:ful", f"{run}:slow", store)
    with pytest.raises(UsageError, match=r"moving\.full, moving\.slow; .* is score\.other: say which, as in"):
        compare(str(run), str(other), store)
    with pytest.raises(UsageError, match="is no run folder"):
        compare(f"{run}/samples", str(run), store)


@pytest.fixture
def changed(run, tmp_path):
    return shutil.copytree(run, tmp_path / "changed")


def test_another_protocol_is_refused_with_the_field_and_both_values(run, changed, store):
    def change(spec):
        for field in spec["protocols"]["tiny/v1"]:
            if field["field"] == "covariance_divisor":
                field["value"] = "N"

    edit(changed / "spec.json", change)
    with pytest.raises(
        UsageError, match='different protocols of the name tiny/v1: covariance_divisor is "N - 1" and "N"'
    ):
        compare(f"{run}:full", f"{changed}:full", store)


def test_another_name_of_protocol_is_refused_with_what_differs(run, changed, store):
    edit(changed / "spec.json", lambda spec: spec["protocols"].update(other=spec["protocols"].pop("tiny/v1")[1:]))
    path = changed / "records.jsonl"
    path.write_text(path.read_text().replace('"protocol": "tiny/v1"', '"protocol": "other"'))
    with pytest.raises(UsageError, match=r"scored by tiny/v1, changed:full by other: datasets is .* and not there"):
        compare(f"{run}:full", f"{changed}:full", store)


def test_other_networks_are_refused(run, changed, store):
    path = changed / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "classifier" in line["fingerprints"]:
            line["fingerprints"]["classifier"] = "0" * 64
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match=r"different networks: classifier .* and 000000000000"):
        compare(f"{run}:full", f"{changed}:full", store)


def test_other_real_clips_are_refused(run, store, conditions, tmp_path):
    videos = system(conditions / "ucf101", tmp_path / "videos", count=4)
    out = tmp_path / "four"
    assert score(ScoreOptions(videos, common(store, samples=4), ("ucf101=world",), out=out, baselines=False)) == 0
    with pytest.raises(UsageError, match="different real videos of ucf101: 6 and 4, of which 4 have the same id"):
        compare(f"{run}:full", str(out), store)


def test_without_features_values_are_set_side_by_side(run, tmp_path):
    found = by_metric(compare(f"{run}:full", f"{run}:slow", tmp_path / "another store"))
    one, told = found["fvd"], records(run)
    assert one.difference == told["full", "ucf101", "fvd", None].value - told["slow", "ucf101", "fvd", None].value
    assert (one.low, one.p, one.p_holm, one.better) == (None, None, None, "")
    assert "features are not in the store: values alone, no interval" in one.notes


def test_fvd_of_different_numbers_of_videos_is_not_tested(run, store, tmp_path):
    for k in range(4):
        video(tmp_path / f"made/clip{k}.mkv", noise(k))
    out = tmp_path / "apart"
    assert score(ScoreOptions(tmp_path / "made", common(store), ("ucf101=world",), out=out, baselines=False)) == 0
    found = by_metric(compare(f"{run}:full", str(out), store))
    assert (
        found["fvd"].p is None and "FVD falls with the number of videos, here 6 and 4: not tested" in found["fvd"].notes
    )
    assert (
        found["kvd"].p is not None
        and "no video in common: the two are compared as independent samples" in found["kvd"].notes
    )


def test_the_table_and_its_json(run, store):
    found = compare(f"{run}:full", f"{run}:slow", store)
    printed = table(found)
    assert printed.splitlines()[0].split()[:4] == ["A", "B", "dataset", "metric"]
    assert "scored by tiny/v1" in printed and "2 training seeds: the interval covers other videos" in printed
    assert json.loads(json.dumps(to_json(found)))[0]["protocol"] == "tiny/v1"


def test_a_subset_takes_the_rows_of_its_ids():
    sample = Sample(np.arange(6.0).reshape(3, 2), np.arange(9.0).reshape(3, 3), ("a", "b", "c"), (None, "g", None))
    part = subset(sample, ["c", "b"])
    assert (part.ids, part.groups, part.features.tolist()) == (("c", "b"), (None, "g"), [[4, 5], [2, 3]])
    assert part.conformity[0].tolist() == [6, 7, 8]
