"""The noise schedule: closed forms, the official tables, and every number of steps."""

import json

import numpy as np
import pytest
import torch

from models.config import DiffusionConfig
from models.schedule import Schedule, make_betas, official_buffers

EPS = DiffusionConfig()
V512 = DiffusionConfig(prediction="v", zero_terminal_snr=True, dynamic_rescale=0.7)


def test_betas_are_linear_in_their_square_root():
    betas = make_betas(EPS)
    assert betas[[0, -1]] == pytest.approx([0.00085, 0.012], rel=1e-12)
    assert np.diff(np.sqrt(betas)) == pytest.approx(np.full(999, (0.012**0.5 - 0.00085**0.5) / 999), rel=1e-9)


def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_beginning():
    schedule, before = Schedule(V512), Schedule(EPS)
    assert float(schedule.alphas_cumprod[-1]) == 0.0
    assert float(schedule.betas[-1]) == 1.0
    assert float(schedule.alphas_cumprod[0]) == pytest.approx(float(before.alphas_cumprod[0]), rel=1e-12)
    x = schedule.add_noise(torch.ones(1, 4, 1, 1, 1), torch.full((1, 4, 1, 1, 1), 3.0), torch.tensor([999]))
    assert x.unique().tolist() == [3.0]


def test_eps_with_zero_terminal_snr_is_refused():
    with pytest.raises(ValueError, match="zero_terminal_snr"):
        DiffusionConfig(prediction="eps", zero_terminal_snr=True)


@pytest.mark.parametrize("config", [EPS, V512])
@pytest.mark.parametrize("spacing", ["uniform", "uniform_trailing", "quad"])
def test_every_number_of_steps_has_exactly_that_many_and_finite_coefficients(config, spacing):
    schedule = Schedule(config)
    for steps in range(1, 1001):
        table = schedule.ddim(spacing, steps, eta=1.0)
        t = table.timesteps
        assert len(table) == steps and t[0] >= 0 and t[-1] <= 999
        assert (np.diff(t) > 0).all(), (spacing, steps)
        assert np.isfinite(table.sigmas).all()
        assert (1 - table.alphas_prev - table.sigmas**2).min() > -1e-12, steps


@pytest.mark.parametrize(
    ("spacing", "steps", "first", "last"),
    [("uniform", 50, [1, 21], 981), ("uniform_trailing", 50, [19, 39], 999), ("uniform", 1000, [0, 1], 999)],
)
def test_known_timesteps(spacing, steps, first, last):
    t = Schedule(EPS).timesteps(spacing, steps)
    assert t[:2].tolist() == first and t[-1] == last


def test_uniform_is_the_official_table_where_that_has_the_steps_asked_for():
    schedule = Schedule(EPS)
    for steps in (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500):
        official = schedule.timesteps("official_uniform", steps)
        assert schedule.timesteps("uniform", steps).tolist() == official.tolist()


def test_the_official_table_may_have_other_numbers_of_steps_or_none():
    schedule = Schedule(EPS)
    assert [len(schedule.timesteps("official_uniform", n)) for n in (15, 60)] == [16, 63]
    for steps in (3, 9, 27, 36, 37, 101, 111, 333, 600, 1000):
        with pytest.raises(ValueError, match="needs timestep 1000"):
            schedule.timesteps("official_uniform", steps)


def test_the_official_trailing_table_has_a_timestep_too_many_for_some_numbers():
    schedule, refused = Schedule(V512), []
    for steps in range(1, 1001):
        try:
            official = schedule.timesteps("official_uniform_trailing", steps)
        except ValueError as error:
            assert "needs timestep -1 of 0..999; use spacing 'uniform_trailing'" in str(error)
            refused.append(steps)
        else:
            assert official.tolist() == schedule.timesteps("uniform_trailing", steps).tolist(), steps
    assert len(refused) == 62 and refused[:4] == [61, 103, 121, 122]


def test_the_official_quad_table_repeats_timesteps_and_ours_does_not():
    schedule = Schedule(EPS)
    assert schedule.timesteps("official_quad", 7).tolist() == [1, 23, 89, 201, 356, 556, 801]  # 800 (i / 6)^2 + 1
    assert schedule.timesteps("quad", 7).tolist() == schedule.timesteps("official_quad", 7).tolist()
    assert schedule.timesteps("official_quad", 30)[:4].tolist() == [1, 1, 4, 9]
    assert schedule.timesteps("quad", 30)[:4].tolist() == [1, 2, 4, 9]
    assert np.isfinite(schedule.ddim("official_quad", 200, 1.0).sigmas).all()


def test_the_official_tables_are_those_that_the_official_code_printed(golden):
    printed = json.loads((golden / "dynamicrafter" / "f_ddim_timesteps.json").read_text())
    assert len(printed) == 36
    for name, table in printed.items():
        spacing, steps = name.rsplit(".", 1)
        assert Schedule(EPS).timesteps(f"official_{spacing}", int(steps)).tolist() == table, name


def test_with_every_step_and_eta_1_sigma_is_the_posterior_deviation_of_ddpm():
    schedule = Schedule(EPS)
    table = schedule.ddim("uniform_trailing", 1000, eta=1.0)
    variance = official_buffers(schedule)["posterior_variance"].double().numpy()
    assert table.sigmas[1:] ** 2 == pytest.approx(variance[1:], rel=2e-4)
    assert schedule.ddim("uniform", 50, eta=0.5).sigmas == pytest.approx(
        0.5 * schedule.ddim("uniform", 50, eta=1.0).sigmas, rel=1e-12
    )


def test_the_last_step_goes_to_the_first_entry_and_not_to_one():
    table = Schedule(EPS).ddim("uniform", 50, 0.0)
    assert table.alphas_prev[0] == pytest.approx(0.99915, abs=1e-6)
    assert table.alphas_prev[1:].tolist() == table.alphas[:-1].tolist()


def test_dynamic_rescale_falls_over_400_steps():
    schedule = Schedule(V512)
    like = torch.zeros(3, 4, 2, 2, 2)
    scale = schedule.z_scale(torch.tensor([0, 399, 999]), like)
    assert scale.shape == (3, 1, 1, 1, 1) and scale.dtype == torch.float32
    assert scale.flatten().tolist() == pytest.approx([1.0, 0.7, 0.7])
    middle = schedule.z_scale(torch.tensor([200]), like).item()
    assert middle == pytest.approx(1 - 0.3 * 200 / 399)
    assert Schedule(EPS).z_scale(torch.tensor([999]), like).item() == 1.0
    table = schedule.ddim("uniform_trailing", 50, 0.0)
    assert table.scale_prev[0] == table.scale[0] and table.scale_prev[1:].tolist() == table.scale[:-1].tolist()
    assert table.scale[0] == pytest.approx(0.986, abs=1e-3)  # what the final latent of the 512 model is left at


@pytest.mark.parametrize("config", [EPS, V512])
def test_noise_and_target_recover_the_latent(config):
    torch.manual_seed(0)
    schedule, t = Schedule(config), torch.tensor([0, 500, 998])
    z, noise = torch.randn(2, 3, 4, 2, 2, 2, dtype=torch.float64)
    x, target = schedule.add_noise(z, noise, t), schedule.target(z, noise, t)
    a = schedule.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1, 1)
    s = (1 - a**2).sqrt()
    torch.testing.assert_close(x, a * z + s * noise)
    torch.testing.assert_close(schedule.prediction.x0(x, target, a, s), z)
    torch.testing.assert_close(schedule.prediction.eps(x, target, a, s), noise)


def test_stored_tables_have_the_official_names():
    saved = set(official_buffers(Schedule(EPS))) - {"lvlb_weights"}
    assert len(saved) == 12 and "scale_arr" not in saved
    assert len(official_buffers(Schedule(V512))["scale_arr"]) == 1400
    assert not official_buffers(Schedule(V512))["sqrt_recip_alphas_cumprod"].any()
    assert Schedule(EPS).state_dict() == {}


@pytest.mark.parametrize(
    ("spacing", "steps", "eta", "words"),
    [
        ("uniformly", 10, 0.0, "allowed: uniform, uniform_trailing, quad, official_uniform"),
        ("uniform", 0, 0.0, "allowed: 1 to 1000"),
        ("uniform", 1001, 0.0, "allowed: 1 to 1000"),
        ("uniform", 10, 1.5, "sampling.eta is 1.5"),
    ],
)
def test_what_cannot_be_sampled_is_refused(spacing, steps, eta, words):
    with pytest.raises(ValueError) as caught:
        Schedule(EPS).ddim(spacing, steps, eta)
    assert words in str(caught.value)
