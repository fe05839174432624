"""Other systems' ways of injecting the image: trained as the full model is, and nothing that was there has changed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.encoded import Encoded
from bench.fingerprint import FileHashes
from bench.measure import resolve_protocols
from bench.plan import Plan
from bench.planner import build_plan
from bench.profile import load_profile
from bench.sources import find_sources
from bench.spec import load_questions
from bench.steps.train import starting_point
from bench.train import Stage, TrainSettings
from bench.variants import Budget, Settings, chain, impossible, model_from_json, model_to_json, resolve
from bench.work import Work
from models import presets
from models.dynamicrafter import DynamiCrafter, parameter_group, text_to_image, text_to_video
from models.presets import tiny
from models.weights import save_module, save_tensors
from tests.fixtures.stages import encoded

ROOT = Path(__file__).parents[2]
BUDGET = Budget(1, 2, 3)
WAYS = {
    "videocomposer": Settings(context="beside_text", visual_detail_guidance="stc_encoder"),
    "i2vgen_xl": Settings(context="hierarchical", visual_detail_guidance="first_frame", condition_frame="first"),
}
BEFORE = {  # variants that were there before these values were, and the digest of all their stages then
    "tiny": "96620806c28efef1",
    "dynamicrafter_256": "cf739c7fd858307b",
    "dynamicrafter_512_interp": "50a1e584c2c46de4",
}
OLD = [
    Settings(),
    Settings(context="none"),
    Settings(visual_detail_guidance="none"),
    Settings(image_scale="fixed"),
    Settings(context="global_token"),
    Settings(schedule="one_stage"),
    Settings(trainable="entire"),
    Settings(visual_detail_guidance="first_and_last"),
]
OLD_NAMES = ["full", "no_ctx", "no_vdg", "no_lambda", "global_ctx", "one_stage", "ft", "ends"]


@pytest.mark.parametrize("preset", BEFORE)
def test_what_other_variants_train_is_as_it_was(preset: str) -> None:
    told = []
    for name, settings in zip(OLD_NAMES, OLD, strict=True):
        for s in chain(getattr(presets, preset)(), settings, BUDGET):
            how = [list(s.groups), s.images, s.condition_frame, s.parent, s.adopts, s.shipped]
            told.append([name, s.name, model_to_json(s.model), *how])
    assert hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16] == BEFORE[preset]


@pytest.mark.parametrize("way", WAYS)
def test_a_way_is_a_model_of_the_same_fields_and_survives_json(way: str) -> None:
    model = resolve(tiny(), WAYS[way])
    assert model_from_json(model_to_json(model)) == model
    assert model_to_json(model).keys() == model_to_json(tiny()).keys()
    assert (model.unet.image_stream, model.unet.in_channels) == ("none", 8)


@pytest.mark.parametrize("way", WAYS)
def test_the_stages_are_the_full_models_with_the_new_parts_in_them(way: str) -> None:
    stages, full = chain(tiny(), WAYS[way], BUDGET), chain(tiny(), Settings(), BUDGET)
    assert [(s.name, s.steps, s.parent, s.adopts, s.images) for s in stages] == [
        (s.name, s.steps, s.parent, s.adopts, s.images) for s in full
    ]
    assert [s.groups for s in stages] == [
        ("projector",),
        ("projector", "spatial", "conv_in"),
        ("projector", "spatial", "conv_in", "detail"),
    ]
    assert stages[0].shipped == way
    assert chain(tiny(), replace(WAYS[way], trainable="entire"), BUDGET)[-1].groups[-2:] == ("detail", "temporal")
    with torch.device("meta"):
        parent = set(DynamiCrafter(text_to_video(tiny())).state_dict())
        new = set(DynamiCrafter(stages[-1].model).state_dict()) - parent
    assert {parameter_group(name) for name in new} <= set(stages[-1].groups), "what is new is trained"


@pytest.mark.parametrize("way", WAYS)
def test_there_is_no_lambda_to_fix_or_to_scale(way: str) -> None:
    context = WAYS[way].context
    assert impossible(WAYS[way]) == []
    assert impossible(replace(WAYS[way], schedule="one_stage")) == []
    ((key, words),) = impossible(replace(WAYS[way], image_scale="fixed"))
    assert key == "model.image_scale" and f"nothing to scale: model.context is {context}" in words
    ((key, words),) = impossible(replace(WAYS[way], lambda_middle=0.5))
    assert key == "sampling.lambda_middle" and f"model.context is {context}" in words


def plan_of(*names: str) -> Plan:
    profile = load_profile("tiny")
    questions = load_questions([ROOT / "ablations" / f"{name}.yaml" for name in names])
    sources = find_sources(profile, {}, {}, FileHashes())
    return build_plan(questions, profile, sources, resolve_protocols((), profile, sources)[0], "cpu")


def test_the_question_trains_two_ways_and_shares_the_rest() -> None:
    def trained(plan: Plan) -> set[str]:
        return {step.fingerprint for step in plan.graph if step.kind == "train"}

    others = plan_of("dual_stream", "training_paradigm")
    both, own = plan_of("injection", "dual_stream", "training_paradigm"), plan_of("injection")
    seeds = len(load_profile("tiny").seeds)
    assert len(trained(both) - trained(others)) == 2 * 2 * seeds  # stages ii and iii; stage i ships
    assert len(trained(own) - trained(others)) == 2 * 2 * seeds
    for way, shipped in ((way, f"stage_i_{way}.safetensors") for way in WAYS):
        for seed in range(seeds):
            assert both.variants["injection", way].training[seed][0].source.path.name == shipped
    partners = [
        ("full", "dual_stream", "full"),
        ("concatenation", "dual_stream", "no_ctx"),
        ("first_frame", "training_paradigm", "first_frame"),
    ]
    for name, question, other in partners:
        assert both.variants["injection", name] is both.variants[question, other]


def test_every_variant_gets_the_same_steps_data_batch_and_rate() -> None:
    plan = plan_of("injection")
    same = ("seed", "steps", "batch", "micro_batch", "learning_rate", "warmup", "final_rate", "uncond_prob")
    for seed in load_profile("tiny").seeds:
        for stage in ("ii", "iii"):
            steps = [
                one.step
                for (_, _), variant in plan.variants.items()
                for one in variant.training[seed]
                if one.stage.name == stage and one.step is not None
            ]
            assert len(steps) == 5
            assert len({tuple(step.config[key] for key in same) for step in steps}) == 1
            assert len({step.inputs["encoded"].fingerprint for step in steps}) == 1  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def data() -> Encoded:
    return encoded(tiny(), clips=4, side=8)


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """t2i and t2v of random weights that are nowhere zero."""
    folder = tmp_path_factory.mktemp("parents")
    torch.manual_seed(0)
    for name, config in (("t2i", text_to_image(tiny())), ("t2v", text_to_video(tiny()))):
        model = DynamiCrafter(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        save_module(model, folder / f"{name}.safetensors")
    return folder


def two_steps(stage, start: DynamiCrafter, data: Encoded) -> dict[str, torch.Tensor]:
    """Two optimiser steps; the gradients of the second."""
    settings = TrainSettings(
        stage=stage.name, seed=0, steps=2, batch=2, micro_batch=2, learning_rate=1e-3, warmup=0, final_rate=1.0,
        clip_norm=1.0, uncond_prob=0.05, log_every=1, checkpoint_every=9, images=stage.images,
        condition_frame=stage.condition_frame, groups=stage.groups,
    )  # fmt: skip
    loop = Stage(start, data, settings)
    loop.step()
    loop.step()
    return {name: p.grad for name, p in start.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("way", WAYS)
def test_each_stage_goes_on_from_the_one_before_and_reaches_every_new_parameter(
    way: str, parents: Path, data: Encoded, tmp_path: Path
) -> None:
    first, second, third = chain(tiny(), WAYS[way], BUDGET)

    def begin(stage, **inputs: Path) -> DynamiCrafter:
        config = {"seed": 0, "model": model_to_json(stage.model), "images": stage.images}
        return starting_point(Work(config, inputs, tmp_path, tmp_path))

    image = begin(first, parent=parents / "t2i.safetensors")
    grads = two_steps(first, image, data)
    assert set(grads) == set(image.parameter_groups()["projector"]) and all(g.abs().sum() > 0 for g in grads.values())
    learned = {n: p for n, p in image.state_dict().items() if parameter_group(n) in first.groups}
    save_tensors(learned, tmp_path / "i.safetensors")
    video = begin(second, parent=parents / "t2v.safetensors", trained=tmp_path / "i.safetensors")
    for name, value in image.state_dict().items():
        if name.startswith("projector."):
            assert torch.equal(value, video.state_dict()[name])
    save_module(video, tmp_path / "ii.safetensors")
    whole = begin(third, parent=tmp_path / "ii.safetensors")
    assert not whole.unet.conv_in.weight[:, 4:].any()
    detail = {n: g for n, g in two_steps(third, whole, data).items() if n.startswith("detail.")}
    assert set(detail) == set(whole.parameter_groups()["detail"])
    silent = {name for name, grad in detail.items() if not grad.abs().sum() > 0}
    assert silent <= ({"detail.attention.to_q.weight", "detail.attention.to_k.weight"} if "composer" in way else set())


@pytest.mark.parametrize("way", WAYS)
def test_another_stage_i_is_refused(way: str, parents: Path, tmp_path: Path) -> None:
    second = chain(tiny(), WAYS[way], BUDGET)[1]
    save_tensors({"projector.image.linear_in.bias": torch.zeros(64)}, tmp_path / "half.safetensors")
    inputs = {"parent": parents / "t2v.safetensors", "trained": tmp_path / "half.safetensors"}
    config = {"seed": 0, "model": model_to_json(second.model), "images": False}
    with pytest.raises(ValueError, match="neither in the parent nor in what stage i trained, as projector"):
        starting_point(Work(config, inputs, tmp_path, tmp_path))


@pytest.mark.slow
def test_the_question_runs(tmp_path: Path) -> None:
    run = ["run", str(ROOT / "ablations/injection.yaml"), "--profile", "smoke", "--quiet"]
    assert main([*run, "--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert set(WAYS) <= {line["variant"] for line in lines if line["metric"] == "pic"}
    page = (tmp_path / "run" / "report.md").read_text()
    assert "VideoComposer" in page and "I2VGen-XL" in page
