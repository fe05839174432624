"""A variant is a model and a chain of stages: what each trains, and which stages two variants share."""

import pytest

from bench.variants import (
    ALLOWED,
    KEYS,
    SWITCHES,
    Budget,
    Named,
    Range,
    Settings,
    Stage,
    chain,
    impossible,
    model_from_json,
    model_to_json,
    resolve,
    settings_from,
    text_to_image,
    without_detail,
)
from models.presets import dynamicrafter_256, dynamicrafter_512, dynamicrafter_512_interp, tiny

BUDGET = Budget(10, 20, 30)
NEW = ("projector", "image_stream", "lambda")
PAPER = (*NEW, "spatial", "conv_in")


def stages(**settings: object) -> tuple[Stage, ...]:
    return chain(tiny(), Settings(**settings), BUDGET)  # type: ignore[arg-type]


def told(**settings: object) -> list[tuple[str, int, str, bool, tuple[str, ...]]]:
    return [(s.name, s.steps, s.parent, s.adopts, s.groups) for s in stages(**settings)]


def test_the_full_model_is_trained_in_three_stages() -> None:
    assert told() == [
        ("i", 10, "t2i", False, NEW),
        ("ii", 20, "t2v", True, PAPER),
        ("iii", 30, "previous", False, PAPER),
    ]
    image, video, last = stages()
    assert (image.images, video.images, last.images) == (True, False, False)
    assert (image.model.frames, image.model.projector.frames, image.model.unet.temporal_conv) == (1, 1, False)
    assert [s.model.unet.in_channels for s in stages()] == [4, 4, 8]
    assert last.model == tiny()


def test_fine_tune_entire_trains_everything_in_the_last_stage_alone() -> None:
    assert [s.groups for s in stages(trainable="entire")] == [NEW, PAPER, (*PAPER, "temporal")]


def test_without_context_there_is_no_stage_i_and_nothing_new_to_train() -> None:
    assert told(context="none") == [
        ("ii", 20, "t2v", False, ("spatial", "conv_in")),
        ("iii", 30, "previous", False, ("spatial", "conv_in")),
    ]
    assert stages(context="none")[-1].model.unet.image_stream == "none"


def test_without_detail_guidance_conv_in_is_never_widened() -> None:
    assert [s.model.unet.in_channels for s in stages(visual_detail_guidance="none")] == [4, 4, 4]


def test_a_fixed_lambda_is_not_trained() -> None:
    assert all("lambda" not in s.groups for s in stages(image_scale="fixed"))
    assert stages(image_scale="fixed")[-1].model.unet.image_stream == "fixed"


def test_the_first_frame_is_the_condition_of_the_video_stages_only() -> None:
    assert [s.condition_frame for s in stages(condition_frame="first")] == ["random", "first", "first"]


def test_one_stage_trains_the_projector_on_the_video_model_from_the_start() -> None:
    assert told(schedule="one_stage") == [("i'", 10, "t2v", False, NEW), *told()[1:]]
    assert not any(s.images for s in stages(schedule="one_stage"))
    assert stages(schedule="one_stage")[0].model == without_detail(tiny())


def test_no_adaptation_spends_the_budget_of_ii_in_iii() -> None:
    assert told(schedule="no_adaptation") == [
        ("i", 10, "t2i", False, NEW),
        ("iii", 50, "t2v", True, PAPER),
    ]


@pytest.mark.parametrize("schedule", ALLOWED["train.schedule"])
def test_every_schedule_has_the_same_number_of_steps(schedule: str) -> None:
    assert sum(s.steps for s in stages(schedule=schedule)) == 60


def test_variants_share_the_stages_that_are_equal() -> None:
    full = stages()
    for shared, settings in [
        (2, {"visual_detail_guidance": "none"}),
        (2, {"trainable": "entire"}),
        (1, {"condition_frame": "first"}),
        (1, {"schedule": "no_adaptation"}),
        (0, {"image_scale": "fixed"}),
        (0, {"context": "global_token"}),
    ]:
        other = stages(**settings)
        assert other[:shared] == full[:shared], settings
        assert shared == len(full) or other[shared] != full[shared], settings


def test_shipped_stages_are_named_by_what_they_depend_on() -> None:
    assert stages()[0].shipped == "learned"
    assert stages(visual_detail_guidance="none", trainable="entire")[0].shipped == "learned"
    assert stages(image_scale="fixed")[0].shipped == "fixed"
    assert stages(context="global_token")[0].shipped == "global_token"
    assert stages(schedule="one_stage")[0].shipped == "one_stage"
    assert stages(schedule="one_stage", image_scale="fixed")[0].shipped is None
    assert stages(context="global_token", image_scale="fixed")[0].shipped is None
    assert stages(prediction="v")[0].shipped is None


def test_a_released_model_is_the_profiles_model_as_it_stands_and_is_not_trained() -> None:
    for preset in (dynamicrafter_256, dynamicrafter_512, dynamicrafter_512_interp, tiny):
        assert resolve(preset(), Settings(weights="dynamicrafter")) == preset()
        assert chain(preset(), Settings(weights="dynamicrafter"), BUDGET) == ()
    with pytest.raises(ValueError, match="is not trained"):
        resolve(tiny(), Settings(weights="dynamicrafter", image_scale="fixed"))


def test_detail_guidance_that_is_not_set_is_that_of_the_profiles_model() -> None:
    assert resolve(dynamicrafter_512_interp(), Settings()).visual_detail_guidance == "first_and_last"
    changed = resolve(dynamicrafter_512_interp(), Settings(visual_detail_guidance="repeat"))
    assert changed.visual_detail_guidance == "repeat"
    assert stages(visual_detail_guidance="repeat") == stages()
    assert stages(schedule="one_stage", visual_detail_guidance="repeat")[0].shipped == "one_stage"


def test_every_key_of_a_spec_is_a_setting_with_its_default_allowed() -> None:
    ranges = {key: switch.allowed for key, switch in SWITCHES.items() if isinstance(switch.allowed, Range)}
    names = {key for key, switch in SWITCHES.items() if isinstance(switch.allowed, Named)}
    assert KEYS.keys() == ALLOWED.keys() | ranges.keys() | names
    assert set(KEYS.values()) == set(Settings.__dataclass_fields__)
    for key, name in KEYS.items():
        default = getattr(Settings(), name)
        if key in names:
            assert default is None and getattr(settings_from({key: "sora"}), name) == "sora"
            continue
        limits = ranges.get(key)
        values = (limits.low, limits.high) if limits else ALLOWED[key]
        assert default is None or (limits.low <= default <= limits.high if limits else default in values)
        for value in values:
            assert getattr(settings_from({key: value}), name) == value


def test_resolving_an_impossible_combination_is_an_error() -> None:
    settings = Settings(context="none", image_scale="fixed")
    assert impossible(settings)[0][0] == "model.image_scale"
    with pytest.raises(ValueError, match="nothing to scale"):
        resolve(tiny(), settings)


@pytest.mark.parametrize("preset", [dynamicrafter_256, dynamicrafter_512_interp, tiny])
def test_a_model_survives_the_way_through_json(preset) -> None:
    assert model_from_json(model_to_json(preset())) == preset()


def test_a_model_from_json_is_strict() -> None:
    values = {**model_to_json(tiny()), "framess": 3}
    with pytest.raises(ValueError, match=r"unknown keys \['framess'\]"):
        model_from_json(values)


def test_the_models_agree_with_the_networks_own_idea_of_their_parents() -> None:
    from models import dynamicrafter

    assert text_to_image(tiny()).unet == dynamicrafter.image_half(without_detail(tiny())).unet
    for settings in (Settings(), Settings(context="none"), Settings(visual_detail_guidance="none")):
        model = resolve(tiny(), settings)
        assert dynamicrafter.unet_config(model) == model.unet


@pytest.mark.parametrize("schedule", ALLOWED["train.schedule"])
@pytest.mark.parametrize("image_scale", ALLOWED["model.image_scale"])
def test_every_stage_trains_groups_that_its_model_has(schedule: str, image_scale: str) -> None:
    from models.dynamicrafter import DynamiCrafter

    for stage in stages(schedule=schedule, image_scale=image_scale, trainable="entire"):
        groups = DynamiCrafter(stage.model).parameter_groups()
        assert all(groups[name] for name in stage.groups), stage.name
