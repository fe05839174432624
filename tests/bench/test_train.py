"""The training loop: byte-for-byte resume, equal draws for every variant, only the named groups trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import train as loop
from bench.encoded import Encoded
from bench.train import draw_step, train
from bench.variants import Budget as Steps
from bench.variants import Settings, chain
from models.dynamicrafter import DynamiCrafter
from models.presets import tiny
from tests.fixtures import stages

SETTINGS = replace(stages.SETTINGS, steps=4, micro_batch=2, clip_norm=1.0, log_every=2)


@pytest.fixture(scope="module")
def data() -> Encoded:
    return stages.encoded(tiny(), side=8)


def fresh(seed: int = 0) -> DynamiCrafter:
    torch.manual_seed(seed)
    return DynamiCrafter(tiny())


def same(a: DynamiCrafter, b: DynamiCrafter) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_killed_stage_ends_with_the_bytes_of_an_undisturbed_one(
    data: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fresh()
    curve = train(undisturbed, data, SETTINGS, tmp_path / "a")
    steps = []
    original = loop.Stage.step

    def dies_in_step_three(stage: loop.Stage) -> loop.Line:
        if stage.done == 2 and not steps:
            steps.append(stage.done)
            raise KeyboardInterrupt
        return original(stage)

    monkeypatch.setattr(loop.Stage, "step", dies_in_step_three)
    with pytest.raises(KeyboardInterrupt):
        train(fresh(), data, SETTINGS, tmp_path / "b")
    resumed = fresh(seed=99)  # whatever it starts from, the state on disk is the whole state
    resumed_curve = train(resumed, data, SETTINGS, tmp_path / "b")
    assert steps == [2] and same(undisturbed, resumed) and curve == resumed_curve
    assert not same(undisturbed, fresh())


def test_all_variants_of_a_seed_see_the_same_clips_noise_and_dropped_conditions(data: Encoded) -> None:
    one, draws_one = draw_step(data, SETTINGS, 1, 1000)
    two, draws_two = draw_step(data, replace(SETTINGS, groups=("temporal",), learning_rate=1.0), 1, 1000)
    assert torch.equal(one.latent, two.latent) and torch.equal(draws_one.noise, draws_two.noise)
    assert torch.equal(draws_one.dropout, draws_two.dropout)
    first, draws_first = draw_step(data, replace(SETTINGS, condition_frame="first"), 1, 1000)
    assert torch.equal(first.latent, one.latent) and torch.equal(draws_first.noise, draws_one.noise)
    assert torch.equal(first.condition[:, :, 0], first.latent[:, :, 0])
    assert not torch.equal(first.condition, one.condition)
    assert not torch.equal(draw_step(data, SETTINGS, 2, 1000)[0].latent, one.latent)


def test_on_images_the_condition_is_the_image_itself(data: Encoded) -> None:
    batch, draws = draw_step(data, replace(SETTINGS, images=True), 0, 1000)
    assert batch.latent.shape == (4, 4, 1, 8, 8) == draws.noise.shape
    assert torch.equal(batch.latent, batch.condition)


@pytest.mark.parametrize("groups", [("projector",), ("lambda",), ("temporal", "conv_in")])
def test_only_the_named_groups_change(data: Encoded, tmp_path: Path, groups: tuple[str, ...]) -> None:
    before, after = fresh(), fresh()
    for model in (before, after):  # the projector's gradient must get through layers that start at zero
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01
    train(after, data, replace(SETTINGS, groups=groups, steps=2), tmp_path)
    named = {name for group in groups for name in after.parameter_groups()[group]}
    changed = {n for (n, a), b in zip(before.named_parameters(), after.parameters(), strict=True) if not a.equal(b)}
    assert changed and changed <= named


def test_the_curve_tells_loss_rate_gradient_and_lambda(data: Encoded, tmp_path: Path) -> None:
    curve = train(fresh(), data, SETTINGS, tmp_path)
    assert [line["step"] for line in curve] == [2, 4]
    assert curve[0]["lr"] == pytest.approx(1e-3) and all(line["grad_norm"] > 0 for line in curve)
    assert len(curve[-1]["image_scale"]) == 7


def test_the_rate_warms_up_and_falls_to_what_the_profile_leaves_of_it() -> None:
    settings = replace(SETTINGS, steps=11, warmup=2, final_rate=0.1)
    rates = [loop.learning_rate(settings, done) for done in range(11)]
    assert rates[0] == pytest.approx(0.5e-3) and rates[-1] == pytest.approx(1e-4)
    assert rates[1] > rates[5] > rates[10] and rates[6] == pytest.approx(0.46e-3)


def test_an_unknown_group_and_a_loss_that_is_no_number_are_refused(data: Encoded, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="spatil"):
        train(fresh(), data, replace(SETTINGS, groups=("spatil",)), tmp_path)
    broken = replace(data, mean=data.mean * float("nan"))
    with pytest.raises(FloatingPointError, match="stage iii, step 1"):
        train(fresh(), broken, SETTINGS, tmp_path)


def test_stage_one_has_the_queries_of_one_frame_and_the_video_model_one_set_per_frame() -> None:
    first, second = chain(tiny(), Settings(), Steps(1, 1, 1))[:2]
    queries = [DynamiCrafter(s.model).state_dict()["projector.queries"].shape[1] for s in (first, second)]
    assert queries == [4, 32]
