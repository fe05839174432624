"""Motion as asked: a share of videos, given where the prompts are the tiny world's and its classifier looked."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.metrics import asked
from bench.metrics.features import Sample, read_sample, write_sample
from bench.metrics.judge import decide, judge_order
from bench.metrics.records import score_all
from bench.metrics.uncertainty import Settings, Units, estimate, over_videos
from bench.protocol import Scoring

PROMPTS = ["a red circle moves to the left", "square growing", "cross sinks down", "the white triangle grows"]
SEEN = ["MovingLeft", "Growing", "MovingUp", "Growing"]


def test_a_video_counts_when_it_does_what_its_prompt_asks() -> None:
    found = asked.per_video(SEEN, PROMPTS)
    assert found is not None and found.tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("other", ["a man growing", "", None, "Playing Guitar", "a red circle"])
def test_one_prompt_of_another_world_and_there_is_no_such_number(other: str | None) -> None:
    assert asked.per_video(SEEN, [*PROMPTS[:3], other]) is None


def test_no_video_has_no_number_and_odd_counts_are_refused() -> None:
    assert asked.per_video([], []) is None
    with pytest.raises(ValueError, match="3 motions seen, 4 prompts"):
        asked.per_video(SEEN[:3], PROMPTS)


def artifact(folder: Path, motions: list[str] | None, prompts: list[str]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    count = len(prompts)
    names = tuple(f"v{k}" for k in range(count))
    write_sample(folder, Sample(rng.normal(size=(count, 3)), rng.uniform(size=(count, 2)), names, (None,) * count))
    items = [{"id": name, "group": None, "prompt": prompt} for name, prompt in zip(names, prompts, strict=True)]
    (folder / "items.json").write_text(json.dumps(items))
    if motions is not None:
        (folder / "motions.json").write_text(json.dumps(motions))
    return folder


def test_features_on_disk_give_it_without_a_new_pass_over_the_clips(tmp_path: Path) -> None:
    found = read_sample(artifact(tmp_path / "a", SEEN, PROMPTS))
    assert found.has("motion_as_asked") and found.extras["motion_as_asked"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert not read_sample(artifact(tmp_path / "b", None, PROMPTS)).has("motion_as_asked")
    assert not read_sample(artifact(tmp_path / "c", SEEN, ["a man runs"] * 4)).has("motion_as_asked")
    with pytest.raises(ValueError, match=r"/d: motion as asked: 3 motions seen, 4 prompts"):
        read_sample(artifact(tmp_path / "d", SEEN[:3], PROMPTS))


def sample(right: list[float]) -> Sample:
    rng, names = np.random.default_rng(1), tuple(f"v{k}" for k in range(len(right)))
    extras = {"motion_as_asked": np.array(right)}
    return Sample(rng.normal(size=(len(right), 2)), np.zeros((len(right), 0)), names, (None,) * len(right), extras)


def scoring(**networks: str) -> Scoring:
    return Scoring("p/v1", "", 2, networks or {"motion_as_asked": "tiny-i3d"}, {}, Settings())


def test_its_record_is_a_share_with_an_interval_of_the_binomial_width() -> None:
    right = [1.0] * 90 + [0.0] * 10
    (record,) = score_all(scoring(), [sample(right)], sample([1.0] * 100), lambda found: over_videos(found[0]))
    assert (record["metric"], record["value"], record["n"]) == ("motion_as_asked", 0.9, 100)
    half = 1.984 * (0.9 * 0.1 / 99) ** 0.5  # t with 99 degrees of freedom; the interval is bent a little
    assert record["high"] - record["low"] == pytest.approx(2 * half, rel=0.15)
    assert 0.0 <= record["low"] < 0.9 < record["high"] <= 1.0
    assert record["notes"] == ["the real clips have 1"] and record["comparable"]


def test_an_interval_ends_where_shares_do_and_one_without_a_width_is_said() -> None:
    few = score_all(scoring(), [sample([1.0, 1.0, 1.0, 0.0])], None, lambda found: over_videos(found[0]))[0]
    assert 0.0 <= few["low"] <= few["high"] == 1.0
    same = score_all(scoring(), [sample([1.0] * 4)], None, lambda found: over_videos(found[0]))[0]
    assert (same["low"], same["high"]) == (1.0, 1.0) and "without a width" in same["notes"][-1]


def test_a_claim_about_it_is_judged_in_its_direction() -> None:
    rng = np.random.default_rng(0)
    better, worse = ([sample((rng.uniform(size=200) < p).astype(float).tolist()) for _ in range(3)] for p in (0.9, 0.6))
    units = Units(*better, *worse)
    sides = [[estimate("motion_as_asked", one, None, units) for one in side] for side in (better, worse)]
    (verdict,) = decide([judge_order("motion_as_asked", sides, 200)])
    assert (verdict.verdict, verdict.unit) == ("holds", "share of videos") and 0.2 < verdict.effect < 0.4
    assert decide([judge_order("motion_as_asked", sides[::-1], 200)])[0].verdict == "fails"


def values(**changed) -> dict:
    from bench import protocol
    from bench.profile import load_profile

    told = {**load_profile("tiny").model_dump(mode="json"), "frame_rate": "frame_stride"}
    found = protocol.resolve("tiny/v1", told, {"tiny-i3d", "tiny-perceptual", "tiny-clip"})
    return {"name": "x", "values": {**found.values, **changed}}


def test_only_the_classifier_of_the_tiny_world_gives_it_under_our_own_protocols() -> None:
    assert Scoring.read(values()).networks["motion_as_asked"] == "tiny-i3d"
    assert "motion_as_asked" not in Scoring.read(values(feature="i3d-k400")).networks
    assert "motion_as_asked" not in Scoring.read(values(motion=None)).networks
    stood_in = Scoring.read(values(stand_ins={"feature": "i3d-k400"}))
    assert stood_in.asked_for["fvd"] == "i3d-k400" and "motion_as_asked" not in stood_in.asked_for


def test_a_claim_without_it_is_undecided_and_says_why() -> None:
    from bench.steps.claims import Court

    real = sample([1.0, 0.0, 1.0, 0.0])
    real = Sample(real.features, real.conformity, real.ids, real.groups)  # real videos: not measured
    claim = {"claim": "x", "metric": "motion_as_asked", "better": ["a", "b"]}
    for networks, why in (
        ({}, "motion_as_asked was not measured"),
        ({"fvd": "i3d"}, "p/v1 does not score motion_as_asked"),
    ):
        verdict = Court({"a": [real] * 3, "b": [real] * 3}, real, scoring(**networks)).hear(claim)
        assert (verdict.verdict, verdict.notes) == ("undecided", (why,))
