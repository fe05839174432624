"""The sampler: exact denoisers with known answers, every number of steps, and noise that is the caller's."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from models.config import DiffusionConfig, SamplerConfig, Spacing
from models.sampler import ddim_step, sample_ddim
from models.schedule import Schedule

CONFIGS = {
    "eps": DiffusionConfig(),
    "v": DiffusionConfig(prediction="v"),
    "v_zero_snr": DiffusionConfig(prediction="v", zero_terminal_snr=True),
}
SHAPE = (2, 4, 3, 2, 2)
NAN_STEPS = (7, 11, 14, 15, 20, 25, 33, 34, 35, 37, 38, 39, 61, 62, 63, 64, 103, 121, 122)


def randn(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def knows(schedule: Schedule, z: torch.Tensor):
    """A denoiser that knows the clean latent: its answer is exact at every x."""

    def denoise(x, t):
        a = schedule.alphas_cumprod[t].sqrt().float().view(-1, 1, 1, 1, 1)
        s = (1 - schedule.alphas_cumprod[t]).sqrt().float().view(-1, 1, 1, 1, 1)
        return schedule.target(z, (x - a * z) / s, t)

    return denoise


@pytest.mark.parametrize("spacing", get_args(Spacing))
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_denoiser_that_knows_the_latent_finds_it(kind, spacing):
    schedule, z, seen = Schedule(CONFIGS[kind]), randn(1), []
    config = SamplerConfig(steps=10, spacing=spacing, eta=0.0)
    out = sample_ddim(knows(schedule, z), schedule, config, randn(0), on_step=lambda k, x, x0: seen.append((k, x0)))
    assert [k for k, _ in seen] == list(range(10))
    for _, x0 in seen:
        torch.testing.assert_close(x0, z, rtol=1e-4, atol=1e-4)
    rest = (out - math.sqrt(float(schedule.alphas_cumprod[0])) * z).abs().max()
    assert rest < 5 * math.sqrt(1 - float(schedule.alphas_cumprod[0]))  # what is left is the first entry's noise


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("kind", CONFIGS)
def test_gaussian_latents_come_out_with_their_deviation(kind, eta):
    schedule, deviation = Schedule(CONFIGS[kind]), 0.5

    def best(x, t):  # E[z | x] and E[noise | x] of z ~ N(0, deviation^2)
        a2 = schedule.alphas_cumprod[t].float().view(-1, 1, 1, 1, 1)
        total = a2 * deviation**2 + 1 - a2
        z, noise = a2.sqrt() * deviation**2 / total * x, (1 - a2).sqrt() / total * x
        return schedule.target(z, noise, t)

    config = SamplerConfig(steps=500, spacing="uniform_trailing", eta=eta)
    noises = torch.Generator().manual_seed(3)
    shape = (2, 4, 10, 10, 10)
    out = sample_ddim(best, schedule, config, randn(2, shape), lambda k: torch.randn(shape, generator=noises))
    assert out.std().item() == pytest.approx(deviation, rel=0.04)
    assert abs(out.mean().item()) < 0.02


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
@pytest.mark.parametrize("steps", [1, 2, 3, *NAN_STEPS, 999, 1000])
def test_any_number_of_steps_runs_and_stays_finite(steps, spacing):
    schedule, calls = Schedule(CONFIGS["v_zero_snr"]), []
    config = SamplerConfig(steps=steps, spacing=spacing, eta=1.0)
    x = torch.ones(1, 1, 1, 1, 1)

    def denoise(x, t):
        calls.append(int(t))
        return -0.1 * x

    out = sample_ddim(denoise, schedule, config, x, lambda k: x)
    assert len(calls) == steps and calls == sorted(calls, reverse=True)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
def test_no_step_of_any_table_is_not_a_number(spacing):
    """All 1000 numbers of steps, eta 1 and zero terminal SNR: the radicand of every step, in float32 as it is used."""
    schedule, x = Schedule(CONFIGS["v_zero_snr"]), torch.ones(1)
    for steps in range(1, 1001):
        table = schedule.ddim(spacing, steps, eta=1.0)
        for index in {0, len(table) // 2, len(table) - 1}:
            mean, x0 = ddim_step(x, -x, table, index, schedule.prediction)
            assert mean.isfinite().all() and x0.isfinite().all(), (steps, index)
        assert len(table) == steps and np.isfinite(table.sigmas).all()


def test_without_the_clamp_the_first_step_is_not_a_number():
    """What the clamp is for: the official arithmetic at 7 steps, whose first radicand is below zero in float32."""
    table = Schedule(CONFIGS["v_zero_snr"]).ddim("official_uniform_trailing", 7, eta=1.0)
    one, prev, sigma = (np.float32(v) for v in (1.0, table.alphas_prev[-1], table.sigmas[-1]))
    assert one - prev - sigma * sigma < 0
    x = torch.ones(1)
    assert ddim_step(x, x, table, 6, Schedule(CONFIGS["v_zero_snr"]).prediction)[0].isfinite().all()


def test_noise_is_asked_for_in_order_and_only_when_there_is_any():
    schedule, asked = Schedule(CONFIGS["eps"]), []

    def noise(k):
        asked.append(k)
        return torch.zeros(SHAPE)

    sample_ddim(lambda x, t: x, schedule, SamplerConfig(steps=5, eta=0.0), randn(0), noise)
    assert asked == []
    sample_ddim(lambda x, t: x, schedule, SamplerConfig(steps=5, eta=0.3), randn(0), noise)
    assert asked == [0, 1, 2, 3, 4]


def test_a_row_does_not_depend_on_its_neighbours():
    schedule, config = Schedule(CONFIGS["v"]), SamplerConfig(steps=4, eta=1.0)
    noises = [randn(10 + k) for k in range(4)]
    both = sample_ddim(lambda x, t: torch.tanh(x), schedule, config, randn(0), noises.__getitem__)
    one = sample_ddim(lambda x, t: torch.tanh(x), schedule, config, randn(0)[1:], lambda k: noises[k][1:])
    assert both[1:].equal(one)


def test_dynamic_rescale_leaves_the_latent_at_the_scale_of_the_smallest_timestep():
    config = DiffusionConfig(prediction="v", zero_terminal_snr=True, dynamic_rescale=0.7)
    schedule, z, seen = Schedule(config), randn(1), []

    def denoise(x, t):  # knows the latent at the scale it has at t
        return knows(schedule, z * schedule.z_scale(t, z))(x, t)

    sampler = SamplerConfig(steps=50, spacing="uniform_trailing", eta=0.0)
    sample_ddim(denoise, schedule, sampler, randn(0), on_step=lambda k, x, x0: seen.append(x0))
    table = schedule.ddim("uniform_trailing", 50, 0.0)
    torch.testing.assert_close(seen[0], z * float(table.scale_prev[-1]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[-1], z * float(table.scale[0]), rtol=1e-4, atol=1e-4)


def test_missing_or_misshapen_noise_is_refused():
    schedule, config = Schedule(CONFIGS["eps"]), SamplerConfig(steps=2, eta=1.0)
    with pytest.raises(ValueError, match="but there is no step_noise"):
        sample_ddim(lambda x, t: x, schedule, config, randn(0))
    with pytest.raises(ValueError, match=r"noise of step 0 has shape \(1, 4, 3, 2, 2\)"):
        sample_ddim(lambda x, t: x, schedule, config, randn(0), lambda k: randn(0)[:1])
