"""The steps that turn features into records and verdicts, down to two videos, and what the reports make of them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import protocol
from bench.metrics.features import Sample, write_sample
from bench.steps import aggregate, claims, score
from bench.work import Work
from reports.load import read_claim
from reports.record import SCHEMA_VERSION, from_dict
from tests.bench.metrics.worlds import World
from tests.bench.test_protocol import PROFILE

SEEDS = (0, 1, 2)


def config(required=20):
    values = {**protocol.resolve("tiny/v1", PROFILE).config["values"], "required_count": required}
    return {"name": "tiny/v1", "hash": "0", "values": values}


@pytest.fixture
def work(tmp_path):
    """work(samples by role, config): a step with features artifacts as inputs."""

    def make(samples, **given):
        inputs = {}
        for role, sample in samples.items():
            inputs[role] = tmp_path / "in" / role
            inputs[role].mkdir(parents=True)
            write_sample(inputs[role], sample)
        out = tmp_path / "out"
        out.mkdir()
        return Work({"protocol": config(), "dataset": "msrvtt", **given}, inputs, out, tmp_path)

    return make


def world(n=24, **given):
    made, reference = World(n=n, dim=6, seeds=3, variants=2, **given).draw(np.random.default_rng(0))
    return {f"a.seed_{s}": made[0][s] for s in SEEDS} | {f"b.seed_{s}": made[1][s] for s in SEEDS}, reference


def first(sample, n):
    return Sample(sample.features[:n], sample.conformity[:n], sample.ids[:n], sample.groups[:n])


def as_record(told):
    about = {
        "question": "q", "variant": "v", "label": "V", "role": "variant", "dataset": "msrvtt", "seed": 0,
        "world": "tiny", "schema": SCHEMA_VERSION, "fingerprints": {},
    }  # fmt: skip
    return from_dict({**told, **about}, "test")


def records(task):
    return {one["metric"]: one for one in json.loads((task.out / "records.json").read_text())}


def test_a_score_is_a_record_per_metric(work):
    made, reference = world()
    task = work({"generated": made["a.seed_0"], "reference": reference}, comparison="generated", seed=0)
    score.run(task)
    told = records(task)
    assert list(told) == ["fvd", "kvd", "pic"]
    for one in told.values():
        record = as_record(one)
        assert record.low < record.value < record.high and record.level == 0.95
        assert record.n == 24 and record.comparable and record.protocol == "tiny/v1" and not record.notes
        assert "fixed" in record.interval and "24 videos" in record.interval
    assert [told[m]["features"] for m in told] == ["tiny-i3d", "tiny-i3d", "tiny-perceptual"]


def test_a_score_is_the_same_bytes_twice(work, tmp_path):
    made, reference = world()
    task = work({"generated": made["a.seed_0"], "reference": reference})
    score.run(task)
    before = (task.out / "records.json").read_bytes()
    score.run(task)
    assert (task.out / "records.json").read_bytes() == before


@pytest.mark.parametrize("n", [0, 1, 2, 3, 6])
def test_few_videos_are_told_and_never_compared(work, n):
    made, reference = world()
    task = work({"generated": first(made["a.seed_0"], n), "reference": first(reference, n)})
    score.run(task)
    for metric, one in records(task).items():
        record = as_record(one)
        least = 1 if metric == "pic" else 2
        assert not record.comparable and f"{n} videos, 20 required" in record.notes[0]
        assert (record.value is None) == (n < least)
        assert (record.low is None) == (n < least + 1)
        if n < least:
            assert "needs" in record.notes[-1]
        elif n == least:
            assert "no interval" in record.notes[-1]


def test_singular_covariances_are_told(work):
    made, reference = World(n=24, dim=30).draw(np.random.default_rng(0))
    task = work({"generated": made[0][0], "reference": reference})
    score.run(task)
    told = records(task)
    assert not told["fvd"]["comparable"] and "singular" in told["fvd"]["notes"][0]
    assert told["kvd"]["comparable"] and told["pic"]["comparable"]


def test_other_real_videos_can_be_the_generated_ones(work):
    """The baseline "real": the second half, other ids, another count."""
    _, reference = world()
    other = replace(first(world(n=30)[1], 22), ids=tuple(f"other {i}" for i in range(22)))
    task = work({"generated": other, "reference": reference}, comparison="baseline", seed=None)
    score.run(task)
    told = records(task)
    assert told["fvd"]["low"] >= 0 and "22 generated videos against 24" in told["fvd"]["notes"][0]
    assert told["fvd"]["n"] == 22


def test_groups_are_named_in_the_interval(work):
    made, reference = world(clusters=True)
    task = work({"generated": made["a.seed_0"], "reference": reference})
    score.run(task)
    assert "groups of videos" in records(task)["pic"]["interval"]


def test_seeds_are_averaged_and_widen_the_interval(work):
    made, reference = world(spread=2.0)
    inputs = {f"seed_{s}": made[f"a.seed_{s}"] for s in SEEDS}
    task = work({**inputs, "reference": reference}, seeds=list(SEEDS))
    aggregate.run(task)
    told = records(task)
    singles = [{one["metric"]: one for one in score.score(made[f"a.seed_{s}"], reference, scoring())} for s in SEEDS]
    for metric, one in told.items():
        assert as_record(one).value == pytest.approx(np.mean([single[metric]["value"] for single in singles]))
        assert "3 training seeds" in one["interval"]
    agreeing = aggregate.aggregate([made["a.seed_0"]] * 3, reference, scoring())
    assert told["fvd"]["high"] - told["fvd"]["low"] > agreeing[0]["high"] - agreeing[0]["low"]


def test_one_seed_of_two_videos_is_no_crash(work):
    made, reference = world()
    inputs = {"seed_0": first(made["a.seed_0"], 2), "reference": first(reference, 2)}
    aggregate.run(task := work(inputs, seeds=[0]))
    told = records(task)
    assert told["fvd"]["value"] is not None and told["fvd"]["interval"] == ""
    assert told["pic"]["low"] is not None and "fixed" in told["pic"]["interval"]


def scoring():
    return protocol.Scoring.read(config())


CLAIMS = [
    {"claim": "a is worse in FVD", "metric": "fvd", "better": ["b", "a"]},
    {"claim": "and conforms less", "metric": "pic", "better": ["b", "a"]},
    {"claim": "a, b, a", "metric": "fvd", "better": ["a", "b", "a"]},
]


def judged(task):
    claims.run(task)
    return json.loads((task.out / "claims.json").read_text())


def test_claims_are_judged_and_can_be_read_by_the_reports(work):
    made, reference = world()
    made |= {f"a.seed_{s}": replace(made[f"b.seed_{s}"], features=made[f"b.seed_{s}"].features + 9) for s in SEEDS}
    lines = judged(work({**made, "reference": reference}, question="q", seeds=list(SEEDS), claims=CLAIMS))
    told = [read_claim(line, "test") for line in lines]
    assert [one.claim for one in told] == [claim["claim"] for claim in CLAIMS]
    assert [one.verdict for one in told] == ["holds", "undecided", "fails"]
    assert told[0].effect > 0 and len(told[0].per_seed) == 3 and told[0].n == 24 and told[0].seeds == 3
    assert told[2].better == ("a", "b", "a") and told[2].effect < 0
    assert told[0].p < told[0].p_holm < 0.05 and told[0].dataset == "msrvtt" and told[0].question == "q"


@pytest.mark.parametrize("n, seeds", [(1, 3), (2, 3), (2, 1), (24, 1)])
def test_what_cannot_be_judged_is_undecided_with_a_reason(work, n, seeds):
    made, reference = world()
    inputs = {role: first(one, n) for role, one in made.items()}
    lines = judged(
        work({**inputs, "reference": first(reference, n)}, question="q", seeds=list(range(seeds)), claims=CLAIMS)
    )
    for line in lines:
        assert read_claim(line, "test").verdict == "undecided"
        assert line["notes"] or (line["metric"], n, seeds) == ("pic", 2, 3), line
        assert (line["effect"] is None) == (n == 1 and line["metric"] != "pic")


def test_a_protocol_without_values_is_refused(work):
    made, reference = world()
    task = work({"generated": made["a.seed_0"], "reference": reference}, protocol={"name": "tiny/v1"})
    with pytest.raises(ValueError, match="protocol tiny/v1: its values are missing"):
        score.run(task)
