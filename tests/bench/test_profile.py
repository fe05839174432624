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


OFFICIAL = {  # size, model told, spacing, rescale: run.sh and the inference configurations of the release
    "256": ((256, 256), "frame_stride", 3, "uniform", 0.0),
    "512": ((320, 512), "fps", 24, "uniform_trailing", 0.7),
    "1024": ((576, 1024), "fps", 10, "uniform_trailing", 0.7),
    "512-interp": ((320, 512), "fps", 5, "uniform_trailing", 0.7),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_full_sizes_have_the_official_defaults(name: str) -> None:
    size, kind, told, spacing, rescale = OFFICIAL[name]
    profile = load_profile(name)
    clip, sampling, model = profile.clip, profile.sampling, model_preset(profile.model)
    assert (clip.frames, clip.height, clip.width, clip.frame_stride) == (16, *size, 3)
    assert (sampling.steps, sampling.eta, sampling.guidance, sampling.text_scale) == (50, 1.0, "single", 7.5)
    assert (sampling.spacing, sampling.guidance_rescale) == (spacing, rescale)
    assert (model.frame_rate, profile.rate.animate, profile.rate.evaluation) == (kind, told, "clip")
    assert model.per_frame_encoding == (name != "256")
    assert profile.execution.precision == "fp16" and profile.samples == 2048
    assert clip.train_strides == (1, 2, 3, 4, 5, 6)
    assert profile.world is None and set(profile.weights) == {"classifier", "perceptual"}
    assert profile.protocol == f"dynamicrafter-{name}/v1"


def test_training_at_full_size_is_as_the_paper_or_the_release_says() -> None:
    paper, released = load_profile("256").stages, load_profile("512").stages
    assert [(s.steps, s.learning_rate or paper.learning_rate) for s in (paper.i, paper.ii, paper.iii)] == [
        (1_000_000, 1e-4), (30_000, 5e-5), (100_000, 5e-5),
    ]  # fmt: skip
    assert (paper.batch, released.learning_rate, released.iii.steps, released.batch) == (64, 1e-5, 100_000, 32)
    assert (released.clip_norm, released.uncond_prob, released.final_rate) == (0.5, 0.05, 1.0)
    assert load_profile("1024").stages.batch == 16


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
    "precision": ("samples: 2", "execution: {precision: fp8}\nsamples: 2",
                  "21: execution.precision is 'fp8'. Known: float32, bf16, fp16."),
    "precision of training": ("micro_batch: 2", "micro_batch: 2\n  precision: fp16",
                              "18: stages.precision is 'fp16'. Known: float32, bf16."),
    "rate": ("samples: 2", "rate: {evaluation: 0}\nsamples: 2", "21: rate.evaluation"),
    "dropped conditions": ("micro_batch: 2", "micro_batch: 2\n  uncond_prob: 0.5",
                           "18: stages.uncond_prob is 0.5: allowed is less than or equal to 0.3333"),
    "weights role": ("  vae:", "  vea:", "8: weights: unknown role 'vea'. Known: t2i, t2v, vae"),
    "weights missing": ("  vae: w/vae.safetensors\n", "", "5: weights: vae missing"),
    "seeds": ("seeds: [0, 1]", "seeds: [1, 1]", "1: the file: seeds: [1, 1] names a seed twice"),
    "negative seed": ("seeds: [0, 1]", "seeds: [-1]", "22: seeds[0] is -1: allowed is greater than or equal"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_line_and_what_is_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = errors(tmp_path, old, new)
    assert any(line.startswith(message) for line in found), found


def test_without_a_world_only_the_measuring_stand_ins_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    text = "".join(line for line in PROFILE.splitlines(keepends=True) if not line.startswith("world"))
    for role in ("t2i", "t2v", "vae", "clip"):
        text = text.replace(f"  {role}: w/{role}.safetensors\n", "")
    path.write_text(text)
    assert load_profile(str(path)).world is None
    path.write_text(text.replace("  classifier: w/classifier.safetensors\n", ""))
    with pytest.raises(UsageError, match="weights: classifier missing"):
        load_profile(str(path))


def test_a_preset_that_cannot_be_is_an_error_of_the_profile(tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    from models import presets

    def broken() -> object:
        tiny = presets.tiny()
        return replace(tiny, diffusion=replace(tiny.diffusion, prediction="eps"))

    broken.__module__ = presets.__name__
    monkeypatch.setattr(presets, "broken", broken, raising=False)
    (found,) = errors(tmp_path, "model: tiny", "model: broken")
    assert found.startswith("4: model 'broken': prediction 'eps' cannot be combined with zero_terminal_snr")


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
