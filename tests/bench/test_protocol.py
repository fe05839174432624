"""Protocols: every choice of the design is there, each has its maker, and a hash that moves with any of them."""

import json
from dataclasses import replace

import pytest

from bench.metrics.features import ENDS
from bench.metrics.kernel import Polynomial
from bench.metrics.preprocess import PIPELINES
from bench.metrics.uncertainty import METRICS, Settings
from bench.profile import load_profile
from bench.protocol import (
    PROTOCOLS,
    Protocol,
    Scoring,
    check_measurable,
    disagreements,
    full_name,
    resolve,
    to_json,
)
from bench.protocols.dialects import DIALECTS
from bench.protocols.measures import SHOWN

PROFILE = load_profile("tiny").model_dump(mode="json")
TINY_NETWORKS = ("tiny-i3d", "tiny-perceptual", "tiny-clip")
ASKED = {  # section of the design that lists what stands between a model and a number
    "datasets", "split", "videos", "clips_per_video", "frames", "frame_stride", "start", "too_short", "resize",
    "condition_frame", "prompts", "sampler", "sampler_steps", "sampler_eta", "guidance", "rate_condition",
    "noise_seed", "scored_frames", "feature", "feature_input", "covariance_divisor", "covariance_root",
    "kvd_estimator", "pic_distance", "pic_first_frame", "required_count", "size", "feature_layout", "feature_eps",
    "reference_bytes", "stand_ins", "interval", "resampling_unit", "generated_frames", "generated_short",
    "generated_rate", "motion", "consistency", "alignment", "kvd_scale", "kvd_kernel", "sampler_spacing",
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
    whole = made("dynamicrafter-256/v1")
    clip = "openclip-vit-h-14"
    networks = {"fvd": "i3d-k400", "kvd": "i3d-k400", "pic": "dreamsim", "motion": "optical-flow"}
    networks |= {"consistency": clip, "alignment": clip, **dict.fromkeys(ENDS, "dreamsim")}
    found = Scoring.read(whole.config)
    assert found == Scoring("dynamicrafter-256/v1", whole.hash, 2048, networks, {}, Settings())
    assert list(found.networks) == [metric for metric in METRICS if metric != "motion_as_asked"]  # the tiny world's


def test_a_network_that_is_not_at_hand_is_stood_in_for_and_it_is_said():
    whole, lacking = (resolve("dynamicrafter-256/v1", PROFILE, given) for given in (None, TINY_NETWORKS))
    fields = {one.field: one for one in lacking.choices}
    assert fields["feature"].value == "tiny-i3d" and "stands in for i3d-k400" in fields["feature"].words
    assert fields["pic_distance"].value == "tiny-perceptual" and fields["feature_eps"].value is None
    assert fields["stand_ins"].value == {
        "feature": "i3d-k400", "pic_distance": "dreamsim", "alignment": "openclip-vit-h-14",
    }  # fmt: skip
    assert whole.values["stand_ins"] == {} and whole.hash != lacking.hash
    assert Scoring.read(lacking.config).asked_for == {
        "fvd": "i3d-k400", "kvd": "i3d-k400", "pic": "dreamsim", "alignment": "openclip-vit-h-14",
        **dict.fromkeys(ENDS, "dreamsim"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "given, pic",
    [
        (("i3d-k400", "dreamsim", "lpips-vgg"), "dreamsim"),
        (("i3d-k400", "lpips-vgg", "tiny-perceptual"), "lpips-vgg"),
        (("i3d-k400", "tiny-perceptual"), "tiny-perceptual"),
    ],
)
def test_pic_takes_the_best_distance_at_hand(given, pic):
    found = resolve("dynamicrafter-256/v1", PROFILE, given)
    assert found.values["pic_distance"] == pic and found.values["feature"] == "i3d-k400"
    assert found.values["stand_ins"] == ({} if pic == "dreamsim" else {"pic_distance": "dreamsim"})
    assert found.values["alignment"] is None  # no CLIP at hand: not measured, and said
    assert "not at hand" in next(one.words for one in found.choices if one.field == "alignment")


def test_the_tiny_protocol_is_whole_with_the_tiny_networks():
    assert resolve("tiny/v1", PROFILE, TINY_NETWORKS).hash == made("tiny/v1").hash
    assert resolve("tiny/v1", PROFILE, (*TINY_NETWORKS, "i3d-k400")).hash == made("tiny/v1").hash


@pytest.mark.parametrize(
    "field, value, setting",
    [
        ("covariance_divisor", "N", Settings(ddof=0)),
        ("pic_first_frame", "does not count", Settings(count_first_frame=False)),
        ("kvd_kernel", {"degree": 2, "gamma": 1.0, "coef0": 0}, Settings(kernel=Polynomial(2, 1.0, 0.0))),
        ("covariance_root", "float32 svd", Settings(root="float32 svd")),
        ("kvd_estimator", "unbiased, float32", Settings(estimator="unbiased, float32")),
        ("kvd_scale", 1000, Settings(scale=1000.0)),
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


def test_networks_say_what_clips_they_need():
    check_measurable(made("tiny/v1"))
    with pytest.raises(ValueError, match="stylegan-v/v1: i3d-k400 needs clips of 9 frames or more, these have 8"):
        check_measurable(made("stylegan-v/v1"))
    check_measurable(resolve("stylegan-v", PROFILE, TINY_NETWORKS))
    small = {**PROFILE, "clip": {**PROFILE["clip"], "frames": 16, "height": 24}}
    with pytest.raises(ValueError, match="lpips-alex needs 32 pixels a side, clips have 24"):
        check_measurable(resolve("profile/v1", small, ("i3d-k400", "lpips-alex")))


def test_a_name_without_a_version_is_the_latest(monkeypatch):
    assert full_name("tats") == "tats/v1" and resolve("tats", PROFILE).name == "tats/v1"
    for version in (2, 10):
        monkeypatch.setitem(PROTOCOLS, f"tats/v{version}", PROTOCOLS["tats/v1"])
    assert full_name("tats") == "tats/v10" and full_name("tats/v1") == "tats/v1"
    with pytest.raises(ValueError, match="Did you mean 'stylegan-v'"):
        resolve("stylegan", PROFILE)


def test_a_profile_must_do_what_a_fixed_protocol_says():
    full = load_profile("256").model_dump(mode="json")
    assert disagreements(resolve("dynamicrafter-256/v1", full), full) == []
    told = disagreements(resolve("dynamicrafter-256/v1", PROFILE), PROFILE)
    assert "sampler_steps is 50 in dynamicrafter-256/v1, 9 in the profile" in told
    assert {words.split(" is ")[0] for words in told} >= {"frames", "size", "sampler_eta", "guidance"}
    for name in ("tiny/v1", "profile/v1", "lvdm/v1"):
        assert disagreements(made(name), PROFILE) == []


@pytest.mark.parametrize("size", ["512", "1024", "512-interp"])
def test_the_released_sizes_have_protocols_that_their_profiles_follow(size):
    profile = {**load_profile(size).model_dump(mode="json"), "frame_rate": "fps"}
    found = resolve(f"dynamicrafter-{size}", profile)
    assert disagreements(found, profile) == []
    choices = {one.field: one for one in found.choices}
    assert choices["frames"].origin == "ours" and choices["size"].value == profile_size(profile)
    assert choices["guidance"].value["rescale"] == 0.7 and choices["rate_condition"].value["kind"] == "fps"
    assert ("last frame" in choices["condition_frame"].value) == (size == "512-interp")


def profile_size(profile):
    return [profile["clip"]["height"], profile["clip"]["width"]]


# ---- dialects ----


def test_every_pipeline_that_a_dialect_names_is_there():
    assert set(SHOWN) - {"as_made"} <= set(PIPELINES)
    assert {dialect.shown for dialect in DIALECTS.values()} <= set(SHOWN)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_says_where_each_of_its_choices_was_read(name):
    choices = {one.field: one for one in made(name).choices}
    for field in ("feature", "covariance_divisor", "covariance_root", "reference_bytes"):
        assert choices[field].origin == "authors"
    assert DIALECTS[name].code in choices["covariance_divisor"].words
    for field in ("feature_eps", "feature_input"):
        guessed = "not seen" in choices[field].words
        assert choices[field].origin == ("ours" if guessed else "authors"), field
    assert choices["frames"].origin == "ours" and "same videos" in choices["frames"].words


def test_dialects_differ_as_their_code_does():
    told = {name: resolve(name, PROFILE).values for name in DIALECTS}
    assert {name: told[name]["covariance_divisor"] for name in ("stylegan-v/v1", "cd-fvd/v1", "tfgan/v1")} == {
        "stylegan-v/v1": "N", "cd-fvd/v1": "N", "tfgan/v1": "N - 1",
    }  # fmt: skip
    single = {name for name in told if told[name]["covariance_root"] == "float32 svd"}
    assert single == {"videogpt/v1", "tats/v1", "lvdm/v1", "common-metrics-videogpt/v1"}
    assert {name for name in told if told[name]["feature_eps"] == 1e-3} == {
        "stylegan-v/v1", "tfgan/v1", "common-metrics/v1",
    }  # fmt: skip
    ways = {name: json.dumps(values) for name, values in told.items()}
    assert ways.pop("tats/v1") == ways["lvdm/v1"] and len(set(ways.values())) == len(ways)  # LVDM took over TATS's code
    assert {name for name in told if "kvd" in Scoring.read(resolve(name, PROFILE).config).networks} == {
        "stylegan-v/v1", "tats/v1", "lvdm/v1", "tfgan/v1",
    }  # fmt: skip
    assert all(set(Scoring.read(resolve(name, PROFILE).config).networks) <= {"fvd", "kvd"} for name in told)


def test_json_holds_name_hash_and_words():
    text = to_json(made("dynamicrafter-256/v1"))
    assert '"hash"' in text and '"2048 at random"' in text and "Doubiiu/DynamiCrafter#10" in text
