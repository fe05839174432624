"""The full-size command on models that are small: what is measured, and what stands beside it."""

import json
from dataclasses import replace

import pytest

from bench import fullsize
from bench.cli import main
from bench.profile import load_profile
from models import presets
from models.config import SamplerConfig


def test_a_forward_pass_is_timed_and_weighed():
    cost = fullsize.forward("tiny", presets.tiny(), "cpu")
    assert cost.parameters == sum(p.numel() for p in fullsize.VideoUNet(presets.tiny().unet, 4).parameters())
    assert cost.seconds > 0 and cost.gigabytes > 0.1 and cost.arithmetic == "float32"
    assert cost.line().startswith("tiny: one U-Net evaluation, 8 frames of 32x32, 0.00 G parameters, float32 on cpu, ")


@pytest.mark.parametrize("detail", ["repeat", "first_and_last"])
def test_a_whole_clip_is_sampled(detail):
    model = replace(presets.tiny(), visual_detail_guidance=detail)
    sampler = SamplerConfig(steps=2, spacing="uniform_trailing", guidance_rescale=0.7)
    cost = fullsize.clip(load_profile("tiny"), model, sampler, "cpu", "bf16")
    assert cost.what == "a clip of 8 frames of 32x32, 2 steps" and cost.seconds > 0
    assert cost.parameters > 2_000_000  # encoders and autoencoder too


def test_the_published_figures_stand_beside_those_of_a_gpu():
    cost = fullsize.Cost("1024", "a clip", "cuda:0", "bf16", 1, 2_600_000_000, 1.0, 40.0, 1.0, 17.5)
    assert cost.line().endswith("peak 17.5 GB, built in 1.0 s; the authors on an A100, fp16: 75 s, 18.3 GB")
    assert "A100" not in replace(cost, device="cpu").line()
    told = cost.to_json()
    assert (told["published_seconds"], told["published_gigabytes"], told["gigabytes"]) == (75.0, 18.3, 17.5)
    assert set(fullsize.PUBLISHED) == {"256", "512", "1024", "512-interp"}


def test_the_command_measures_by_profile_and_refuses_what_it_cannot(capsys):
    assert main(["fullsize", "tiny", "--device", "cpu", "--threads", "1", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["size"], told["threads"], told["published_seconds"]) == ("tiny", 1, None)
    assert main(["fullsize", "255", "--precision", "int8"]) == 2
    assert "Did you mean '256'?" in capsys.readouterr().err
    assert main(["fullsize", "256", "--precision", "int8", "--steps", "0"]) == 2
    said = capsys.readouterr().err
    assert "--precision is 'int8'" in said and "--steps is 0; allowed: 1 to 1000" in said
