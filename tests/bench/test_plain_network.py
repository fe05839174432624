"""The plain network gives the same answers as the fast one, whatever the variant; the races say who was how fast."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import speed, speed_plain
from bench.cli import main
from models import flops, presets
from models.guidance import guidance_of
from models.pipeline import guided_denoiser

TINY = presets.tiny()


@pytest.fixture(scope="module")
def given() -> speed.Setting:
    return speed.setting("tiny", "cpu", clips=2, steps=3)


def answers(race: speed.Race) -> tuple[np.ndarray, np.ndarray]:
    race.run(1, speed.clock_of("cpu"))
    return np.asarray(race.answers["ours"]), np.asarray(race.answers["plain"])


@pytest.mark.parametrize("race", speed.RACES)
def test_both_ways_give_the_same_answers(given: speed.Setting, race: speed.RACES) -> None:
    ours, plain = answers(race(given))
    assert np.isfinite(ours).all() and np.abs(ours).max() > 0.1
    assert np.abs(ours - plain).max() < 1e-5 * np.abs(ours).max()


@pytest.mark.parametrize(
    "changes", [{"context": "none"}, {"visual_detail_guidance": "none"}, {"context": "global_token"}]
)
def test_so_they_do_for_variants(given: speed.Setting, changes: dict[str, str]) -> None:
    torch.manual_seed(1)
    model = speed.DynamiCrafter(replace(TINY, **changes)).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    ours, plain = answers(speed.forward_race(replace(given, model=model)))
    assert np.abs(ours).max() > 0.1
    assert np.abs(ours - plain).max() < 1e-5 * np.abs(ours).max()


def test_the_test_can_fail(given: speed.Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_plain, "weight", lambda stream: 1.5)
    ours, plain = answers(speed.forward_race(given))
    assert np.abs(ours - plain).max() > 1e-3 * np.abs(ours).max()


@pytest.mark.parametrize("kind", ["none", "single", "two_scale"])
def test_guidance_branch_by_branch_is_guidance_in_one_batch(given: speed.Setting, kind: str) -> None:
    guidance = guidance_of(replace(given.sampler, guidance=kind, text_scale=3.0))
    conditions, x = given.conditions(), given.latent(TINY.frames)
    t = torch.tensor([400, 400])
    with torch.no_grad():
        ours = guided_denoiser(given.model, guidance, conditions, given.rates(), TINY.frames)(x, t)
        plain = speed_plain.guided_denoiser(given.model, guidance, conditions, given.rates(), guidance.branches)(x, t)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=2e-5 * float(ours.abs().max()))


def test_keys_and_values_of_the_context_are_made_once_for_a_sample(
    given: speed.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    project = type(given.model.unet).project_context
    monkeypatch.setattr(type(given.model.unet), "project_context", lambda *a: calls.append(1) or project(*a))
    forwards = []
    denoise = type(given.model.unet).denoise
    monkeypatch.setattr(type(given.model.unet), "denoise", lambda *a, **k: forwards.append(1) or denoise(*a, **k))
    ours, _ = answers(replace(speed.sampling_race(given), others={"plain": lambda: np.zeros(1)}))
    assert len(ours) == given.clips
    clips, shared = given.clips, 1  # the empty prompt and no image are the same for all clips
    assert len(calls) == clips + shared
    assert len(forwards) == given.sampler.steps  # both branches of all clips in one evaluation


def test_operations_are_counted_ours_and_plain() -> None:
    lines = speed.counted(presets.dynamicrafter_256(), presets.sampler_256())
    assert len(lines) == 5
    forward = [cell.strip() for cell in lines[2].split("|")]
    assert forward[2] == f"{flops.forward_flops(presets.dynamicrafter_256()) / 1e12:.4g}"
    assert float(forward[3]) == pytest.approx(4.90, abs=0.01)  # what torch counts of the official network


def test_the_command_races_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "256", "--count"]) == 0
    assert "4.844" in capsys.readouterr().out
    assert main(["speed", "tiny", "--steps", "2", "--repeats", "1", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.count("| plain |") >= 3 and "32x32, 24 channels, float32 on cpu" in out
    assert main(["speed", "tiny", "--channels", "3", "--device", "cpu"]) == 2
    assert "--channels 3: no such U-Net of profile tiny" in capsys.readouterr().err
    assert main(["speed", "tiny", "--repeats", "0", "--precision", "int8"]) == 2
