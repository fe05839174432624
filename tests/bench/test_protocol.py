"""Protocols: every choice of the design is there, each has its maker, and a hash that moves with any of them."""

from dataclasses import replace

import pytest

from bench.metrics.kernel import Polynomial
from bench.metrics.uncertainty import Settings
from bench.profile import load_profile
from bench.protocol import PROTOCOLS, Protocol, Scoring, check_measurable, resolve, to_json

PROFILE = load_profile("tiny").model_dump(mode="json")
ASKED = {  # section of the design that lists what stands between a model and a number
    "datasets", "split", "videos", "clips_per_video", "frames", "frame_stride", "start", "too_short", "resize",
    "condition_frame", "prompts", "sampler", "sampler_steps", "sampler_eta", "guidance", "rate_condition",
    "noise_seed", "scored_frames", "feature", "feature_input", "covariance_divisor", "covariance_root",
    "kvd_estimator", "pic_distance", "pic_first_frame", "required_count",
}  # fmt: skip


def made(name):
    return resolve(name, PROFILE)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_choice_is_there_once_with_its_maker_and_words(name):
    fields = made(name).fields()
    names = [one["field"] for one in fields]
    assert set(names) >= ASKED and len(set(names)) == len(names)
    for one in fields:
        assert set(one) == {"field", "value", "origin", "words"}
        assert one["origin"] in ("authors", "ours") and one["words"]
    assert PROTOCOLS[name].description and made(name).description


def test_what_the_authors_said_is_theirs_and_the_rest_is_ours():
    choices = {one.field: one for one in made("dynamicrafter-256/v1").choices}
    assert {n: choices[n].value for n in ("required_count", "frames", "frame_stride", "clips_per_video")} == {
        "required_count": 2048, "frames": 16, "frame_stride": 3, "clips_per_video": 1,
    }  # fmt: skip
    for name in ("videos", "required_count", "frames", "frame_stride", "condition_frame", "reference"):
        assert choices[name].origin == "authors"
    for name in ("covariance_divisor", "kvd_estimator", "pic_first_frame", "prompts", "sampler_steps"):
        assert choices[name].origin == "ours"
    assert all(one.origin == "ours" for one in made("tiny/v1").choices if one.field != "pic_formula")


def test_the_tiny_one_is_filled_from_the_profile():
    profile = {**PROFILE, "clip": {**PROFILE["clip"], "frames": 5, "frame_stride": 2}}
    values = resolve("tiny/v1", profile).values
    assert (values["frames"], values["frame_stride"]) == (5, 2)
    assert values["sampler_steps"] == PROFILE["sampling"]["steps"]
    assert values["guidance"]["text_scale"] == PROFILE["sampling"]["text_scale"]
    assert values["prompts"] == {"ucf101": "class_name", "msrvtt": "first"}
    with pytest.raises(ValueError, match="come from a profile"):
        resolve("tiny/v1")


def test_the_hash_moves_with_every_value_and_not_with_words():
    whole = made("tiny/v1")
    assert whole.hash == made("tiny/v1").hash and len(whole.hash) == 64
    seen = {whole.hash}
    for index, choice in enumerate(whole.choices):
        changed = [*whole.choices]
        changed[index] = replace(choice, value="something else")
        seen.add(Protocol(whole.name, whole.description, tuple(changed)).hash)
    assert len(seen) == len(whole.choices) + 1
    told = tuple(replace(choice, words="other") for choice in whole.choices)
    assert Protocol(whole.name, "other", told).hash == whole.hash
    assert Protocol("other/v1", whole.description, whole.choices).hash != whole.hash


def test_steps_read_back_what_they_need():
    found = Scoring.read(made("dynamicrafter-256/v1").config)
    assert found == Scoring("dynamicrafter-256/v1", 2048, "i3d-k400", "dreamsim", Settings())


@pytest.mark.parametrize(
    "field, value, setting",
    [
        ("covariance_divisor", "N", Settings(ddof=0)),
        ("pic_first_frame", "does not count", Settings(count_first_frame=False)),
        ("kvd_kernel", {"degree": 2, "gamma": 1.0, "coef0": 0}, Settings(kernel=Polynomial(2, 1.0, 0.0))),
    ],
)
def test_every_scoring_choice_reaches_the_settings(field, value, setting):
    config = made("tiny/v1").config
    config = {**config, "values": {**config["values"], field: value}}
    assert Scoring.read(config).settings == setting


def test_what_is_unknown_is_named():
    config = made("tiny/v1").config
    broken = {**config, "values": {**config["values"], "covariance_divisor": "N-2"}}
    with pytest.raises(ValueError, match="covariance_divisor is 'N-2'; known: N - 1, N"):
        Scoring.read(broken)
    with pytest.raises(ValueError, match="Did you mean 'tiny/v1'"):
        resolve("tiny/v2")


def test_a_protocol_needs_networks_that_are_there():
    check_measurable(made("tiny/v1"))
    choices = tuple(replace(c, value="lpips") if c.field == "pic_distance" else c for c in made("tiny/v1").choices)
    with pytest.raises(ValueError, match=r"not part of this version \(pic_distance 'lpips'; there are"):
        check_measurable(Protocol("other/v1", "", choices))


def test_json_holds_name_hash_and_words():
    text = to_json(made("dynamicrafter-256/v1"))
    assert '"hash"' in text and '"2048 at random"' in text and "Doubiiu/DynamiCrafter#10" in text
