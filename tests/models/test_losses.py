"""The training loss: which conditions are dropped, what is rescaled, and values worked out by hand."""

from dataclasses import dataclass, field

import pytest
import torch

from models.config import DiffusionConfig
from models.losses import Draws, Nulls, TrainBatch, diffuse, drop_conditions, training_loss
from models.schedule import Schedule

EPS = Schedule(DiffusionConfig())
V512 = Schedule(DiffusionConfig(prediction="v", zero_terminal_snr=True, dynamic_rescale=0.7))
B = 4


@dataclass
class Fake:
    """Answers `scale` times a given tensor and keeps what it was shown."""

    answer: torch.Tensor
    seen: dict[str, torch.Tensor] = field(default_factory=dict)

    def context(self, text, image_tokens, condition=None):
        return {"text": text, "image": image_tokens}

    def __call__(self, z_t, t, context, condition, fs):
        self.seen = {"z_t": z_t, "t": t, "condition": condition, "fs": fs, **context}
        return self.answer


def batch() -> tuple[TrainBatch, Draws, Nulls]:
    torch.manual_seed(0)
    z, noise = torch.randn(2, B, 4, 2, 3, 3)
    text, image = torch.randn(B, 5, 6), torch.randn(B, 7, 8)
    one = TrainBatch(z, z[:, :, :1], text, image, torch.tensor([1, 2, 3, 4]))
    draws = Draws(torch.tensor([0, 300, 700, 999]), noise, torch.tensor([0.05, 0.15, 0.25, 0.35]))
    return one, draws, Nulls(torch.zeros(1, 5, 6), torch.full((1, 7, 8), -1.0))


def test_each_of_the_four_cases_of_the_dropout_rule():
    data, draws, nulls = batch()
    text, image = drop_conditions(data, nulls, draws.dropout, 0.1)  # r in [0,p), [p,2p), [2p,3p), [3p,1)
    assert [bool(row.eq(0).all()) for row in text] == [True, True, False, False]
    assert [bool(row.eq(-1).all()) for row in image] == [False, True, True, False]
    assert text[2].equal(data.text[2]) and image[0].equal(data.image_tokens[0])


def test_the_edges_of_the_dropout_rule_belong_to_the_upper_interval():
    data, _, nulls = batch()
    r = torch.tensor([0.0, 0.25, 0.5, 0.75])
    text, image = drop_conditions(data, nulls, r, 0.25)
    assert [bool(row.eq(0).all()) for row in text] == [True, True, False, False]
    assert [bool(row.eq(-1).all()) for row in image] == [False, True, True, False]


def test_shares_of_the_dropout_rule():
    r = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    count = len(r)
    data = TrainBatch(torch.zeros(0), torch.zeros(0), torch.ones(count, 1, 1), torch.ones(count, 1, 1), torch.zeros(0))
    nulls = Nulls(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
    text, image = (x.flatten() == 0 for x in drop_conditions(data, nulls, r, 0.05))
    shares = [(text & ~image), (text & image), (~text & image), (~text & ~image)]
    assert [s.float().mean().item() for s in shares] == pytest.approx([0.05, 0.05, 0.05, 0.85], abs=0.004)


@pytest.mark.parametrize("schedule", [EPS, V512])
def test_a_model_that_answers_the_target_has_no_loss(schedule):
    data, draws, nulls = batch()
    _, target = diffuse(schedule, data.latent, draws)
    loss = training_loss(Fake(target), schedule, data, draws, nulls, 0.05)
    assert loss.value.item() == 0.0


def test_the_loss_is_the_mean_square_per_sample_and_over_samples():
    data, draws, nulls = batch()
    _, target = diffuse(EPS, data.latent, draws)
    offset = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(-1, 1, 1, 1, 1)
    loss = training_loss(Fake(target + offset), EPS, data, draws, nulls, 0.0)
    assert loss.per_sample.tolist() == pytest.approx([1, 4, 9, 16], rel=1e-5)
    assert loss.value.item() == pytest.approx(7.5, rel=1e-5)


def test_only_the_diffused_latent_is_rescaled():
    data, draws, nulls = batch()
    model = Fake(torch.zeros_like(data.latent))
    training_loss(model, V512, data, draws, nulls, 0.05)
    assert model.seen["condition"].equal(data.condition)
    scale = torch.tensor([1.0, 1 - 0.3 * 300 / 399, 0.7, 0.7]).view(-1, 1, 1, 1, 1)
    expected = V512.add_noise(scale * data.latent, draws.noise, draws.timesteps)
    torch.testing.assert_close(model.seen["z_t"], expected)
    torch.testing.assert_close(model.seen["z_t"][3], draws.noise[3])  # zero terminal SNR: only noise
    _, target = diffuse(V512, data.latent, draws)
    torch.testing.assert_close(target[3], -0.7 * data.latent[3])
    assert model.seen["fs"].tolist() == [1, 2, 3, 4]


def test_a_sample_does_not_depend_on_its_neighbours():
    data, draws, nulls = batch()
    answer = torch.randn_like(data.latent)
    whole = training_loss(Fake(answer), V512, data, draws, nulls, 0.1).per_sample
    rows = [
        training_loss(
            Fake(answer[i : i + 1]),
            V512,
            TrainBatch(*(x[i : i + 1] for x in vars(data).values())),
            Draws(*(x[i : i + 1] for x in vars(draws).values())),
            nulls,
            0.1,
        ).value
        for i in range(B)
    ]
    assert whole.tolist() == [r.item() for r in rows]


def test_impossible_probabilities_and_shapes_are_refused():
    data, draws, nulls = batch()
    with pytest.raises(ValueError, match=r"uncond_prob is 0.4; allowed: 0 to 1/3"):
        training_loss(Fake(data.latent), EPS, data, draws, nulls, 0.4)
    with pytest.raises(ValueError, match=r"noise has shape \(1, 4, 2, 3, 3\); allowed: \(4, 4, 2, 3, 3\)"):
        wrong = Draws(draws.timesteps, draws.noise[:1], draws.dropout)
        training_loss(Fake(data.latent), EPS, data, wrong, nulls, 0.05)
