"""A profile is read as strictly as a spec, and the command's options are checked like its own values."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.profile import load_profile, model_preset, override, profile_names
from tests.bench.conftest import PROFILE


def errors(tmp_path: Path, old: str, new: str) -> list[str]:
    assert old in PROFILE
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_profile(str(path))
    return [message.removeprefix(f"{path}:") for message in caught.value.messages]


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_is_valid(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.sampling.config.steps == profile.sampling.steps
    assert profile.clip.frames == model_preset(profile.model).frames


MISTAKES = {
    "unknown key": ("batch: 4", "bach: 4", "16: stages: unknown key 'bach'. Known: i, ii, iii, batch,"),
    "nested key": ("{steps: 2}", "{step: 2}", "13: stages.i: unknown key 'step'. Known: steps, batch,"),
    "text for a number": ("1.0e-3", "1e-3", "18: stages.learning_rate is the text '1e-3': YAML reads it "),
    "fraction for a whole number": ("samples: 2", "samples: 2.5", "21: samples is 2.5: "),
    "too small": ("samples: 2", "samples: 1", "21: samples is 1: allowed is greater than or equal to 2"),
    "choice": ("guidance: single", "guidance: singel", "19: sampling.guidance is 'singel'. Known: none, "
               "single, two_scale. Did you mean 'single'?"),
    "features": ("model: tiny", "model: tiny\nfeatures: i3d-k400", "5: features is 'i3d-k400'. Known: tiny-i3d."),
    "batch": ("micro_batch: 2", "micro_batch: 3", "12: stages: batch 4 is not a multiple of micro_batch 3"),
    "model": ("model: tiny", "model: tinny", "4: model is 'tinny'. Known: dynamicrafter_256"),
    "size": ("height: 32", "height: 48", "3: clip.height is 48; the model 'tiny' makes 32"),
    "weights role": ("  vae:", "  vea:", "8: weights: unknown role 'vea'. Known: t2i, t2v, vae"),
    "weights missing": ("  vae: w/vae.safetensors\n", "", "5: weights: vae missing"),
    "seeds": ("seeds: [0, 1]", "seeds: [1, 1]", "1: the file: seeds: [1, 1] names a seed twice"),
    "negative seed": ("seeds: [0, 1]", "seeds: [-1]", "22: seeds[0] is -1: allowed is greater than or equal"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_line_and_what_is_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = errors(tmp_path, old, new)
    assert any(line.startswith(message) for line in found), found


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"Known: .*smoke, tiny.* Did you mean 'tiny'"):
        load_profile("tinny")


def test_a_path_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load_profile("nowhere/p.yaml")


def test_options_lie_over_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE)
    profile = load_profile(str(path))
    changed = override(profile, samples=5, seeds=(3,), device="cpu", workers=4)
    assert (changed.samples, changed.seeds) == (5, (3,))
    assert (changed.execution.device, changed.execution.workers) == ("cpu", 4)
    assert profile.samples == 2


def test_options_are_checked_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(PROFILE)
    with pytest.raises(UsageError) as caught:
        override(load_profile(str(path)), samples=1, seeds=(0, 0), device="gpu", workers=0)
    assert [message.split()[0] for message in caught.value.messages] == [
        "--samples", "--seeds", "--device", "--workers",
    ]  # fmt: skip


def test_an_image_scale_needs_two_scales(tmp_path: Path) -> None:
    found = errors(tmp_path, "guidance: single", "guidance: single, image_scale: 2.0")
    assert found == ["19: sampling: image_scale has no effect: guidance is 'single', not 'two_scale'"]
