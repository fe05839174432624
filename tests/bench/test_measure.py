"""The measuring part of a plan: equal work is one step, and features are known by all that changes them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.errors import UsageError
from bench.fingerprint import placeholder
from bench.graph import File, Step
from bench.measure import features_step, given, lpips_net, resolve_protocols, score_step, unused
from bench.profile import load_profile
from bench.sources import Sources
from models.weights import save_tensors

PROFILE = load_profile("tiny")
FULL = load_profile("256")
MACHINE = {"device": "cpu", "threads": 1}
CLIPS = Step("clips", "clips", {"dataset": "msrvtt"})
MADE = Step("sample", "made", {"seed": 0})


def sources(*roles, **files):
    named = {role: File(Path(role), role[:1] * 64) for role in ("classifier", "perceptual", "clip", *roles)}
    return Sources({**named, **files})


def features(name, found=None, real=False, profile=PROFILE, conditions=CLIPS):
    found = found or sources()
    (protocol,) = resolve_protocols((name,), profile, found)
    return features_step(protocol, profile, found, MACHINE, "x", CLIPS if real else MADE, conditions, 8, real)


def test_what_is_at_hand_has_names():
    assert given(sources(), PROFILE) == {"tiny-i3d", "tiny-perceptual", "tiny-clip"}
    assert given(sources("i3d", "dreamsim"), FULL) >= {"i3d-k400", "dreamsim", "openclip-vit-h-14"}
    absent = Sources({"i3d": File(Path("i3d"), placeholder("i3d"))})
    assert given(absent, FULL) == set()
    released = Sources({"dynamicrafter": File(Path("d"), "d" * 64)})
    assert given(released, FULL) == {"openclip-vit-h-14"}  # a released checkpoint holds the two towers


def test_protocols_with_the_same_networks_and_preprocessing_share_a_pass():
    found = sources("i3d")
    assert features("tats", found, profile=FULL).fingerprint == features("lvdm", found, profile=FULL).fingerprint
    assert features("tats", found, profile=FULL).fingerprint == features("cd-fvd", found, profile=FULL).fingerprint
    others = ("stylegan-v", "videogpt", "tats", "tfgan", "common-metrics", "common-metrics-videogpt")
    assert len({features(name, found, profile=FULL).fingerprint for name in others}) == len(others)


def test_features_are_known_by_all_that_changes_them():
    found = sources("i3d", "dreamsim")
    first = features("dynamicrafter-256", found, profile=FULL)
    seen = {first.fingerprint}
    for role in ("i3d", "dreamsim", "clip"):
        other = replace(found, weights={**found.weights, role: File(Path(role), "9" * 64)})
        seen.add(features("dynamicrafter-256", other, profile=FULL).fingerprint)
    seen.add(features("dynamicrafter-256", sources("i3d"), profile=FULL).fingerprint)  # another distance
    seen.add(features("dynamicrafter-256", sources("dreamsim"), profile=FULL).fingerprint)  # another network
    seen.add(features("dynamicrafter-256", found, profile=FULL, conditions=None).fingerprint)
    assert len(seen) == 7


def test_the_reference_is_read_as_a_dialect_reads_real_clips():
    found = sources("i3d")
    made, real = (features("lvdm", found, real=real, profile=FULL).config["video"] for real in (False, True))
    assert (made["bytes"], real["bytes"]) == ("as they are", "levels 1 to 63 fall by one")
    plain = features("cd-fvd", found, real=True, profile=FULL).config["video"]
    assert plain["bytes"] == "as they are"
    assert features("tiny/v1", real=True).config["image"] is None  # nobody asks for the PIC of real clips


def test_a_stand_in_is_what_is_measured_with():
    step = features("dynamicrafter-256", profile=FULL)
    assert step.config["video"]["network"] == "tiny-i3d" and step.config["image"] == "tiny-perceptual"
    assert set(step.inputs) == {"clips", "conditions", "classifier", "perceptual", "clip"}
    (protocol,) = resolve_protocols((), FULL, sources())
    assert set(protocol.config["values"]["stand_ins"]) == {"feature", "pic_distance"}


def test_a_score_may_have_no_reference():
    (protocol,) = resolve_protocols((), PROFILE, sources())
    step = score_step(protocol, PROFILE, "x", "folder", 8, features("tiny/v1"), None, "generated", None)
    assert set(step.inputs) == {"generated"}


def test_networks_that_nothing_looks_at_are_refused():
    with pytest.raises(UsageError, match=r"--weights i3d: nothing here is measured with it \(tiny/v1 with tiny-i3d"):
        resolve_protocols((), PROFILE, sources("i3d"))
    both = sources("i3d", "dreamsim")
    assert resolve_protocols(("dynamicrafter-256", "cd-fvd"), FULL, both)
    with pytest.raises(UsageError, match="--weights dreamsim: nothing here"):
        resolve_protocols(("cd-fvd",), FULL, both)
    assert unused([], sources()) == []


def test_every_error_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        resolve_protocols(("tiny/v9", "stylegan-v", "nonsense"), PROFILE, sources("i3d"))
    told = str(caught.value)
    assert "tiny/v9" in told and "needs clips of 9 frames" in told and "nonsense" in told


def test_each_protocol_comes_once():
    names = [one.name for one in resolve_protocols(("tats", "tats/v1", "lvdm"), PROFILE, sources())]
    assert names == ["tats/v1", "lvdm/v1"]


def test_a_profile_that_samples_must_agree_with_a_fixed_protocol():
    assert resolve_protocols((), FULL, sources(), sampled=True)
    other = FULL.model_copy(update={"sampling": FULL.sampling.model_copy(update={"steps": 25})})
    with pytest.raises(UsageError, match=r"sampler_steps is 50 in dynamicrafter-256/v1, 25 in the profile.*profile/v1"):
        resolve_protocols((), other, sources(), sampled=True)
    assert resolve_protocols((), other, sources())  # videos that others made


@pytest.mark.parametrize(
    "net, entries",
    [
        ("alex", {"features.0.weight": (64, 3, 11, 11)}),
        ("vgg", {"features.0.weight": (64, 3, 3, 3)}),
        ("squeeze", {"features.0.weight": (64, 3, 3, 3), "features.3.squeeze.weight": (16, 64, 1, 1)}),
    ],
)
def test_the_trunk_of_lpips_is_told_from_its_entries(tmp_path, net, entries):
    path = tmp_path / "trunk.safetensors"
    save_tensors({name: torch.zeros(shape) for name, shape in entries.items()}, path)
    assert lpips_net(path) == net
    found = sources(lpips=File(path, "a" * 64))
    assert f"lpips-{net}" in given(found, FULL)
    assert features("profile", found, profile=FULL).config["image"] == f"lpips-{net}"


def test_another_file_is_no_trunk_of_lpips(tmp_path):
    path = tmp_path / "other.safetensors"
    save_tensors({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match="no trunk of torchvision's"):
        resolve_protocols((), FULL, sources(lpips=File(path, "a" * 64)))
