"""A spec is read strictly: each mistake names file, line, what came and what is allowed; all of them at
once.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.metrics.directions import MEASURES
from bench.profile import ROOT, model_preset
from bench.spec import load_question, load_questions
from bench.variants import SWITCHES, Settings
from models.config import DiffusionConfig, ModelConfig

GOOD = """\
question: What?
source: "a paper"
variants:
  full: {label: "Full"}
  no_lambda: {label: "w/o λ", model.image_scale: fixed}
expect:
  - {claim: "it matters", metric: fvd, better: [full, no_lambda]}
"""


def write(folder: Path, text: str, name: str = "q.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def errors(path: Path, model: ModelConfig | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_question(path, model)
    return [message.removeprefix(f"{path}:") for message in caught.value.messages]


def test_a_good_spec_becomes_variants_with_settings(tmp_path: Path) -> None:
    question = load_question(write(tmp_path, GOOD))
    assert question.name == "q"
    assert [v.name for v in question.variants] == ["full", "no_lambda"]
    assert question.variants[0].settings == Settings()
    assert question.variants[1].settings == Settings(image_scale="fixed")
    assert question.variants[1].label == "w/o λ"
    assert question.expect[0].better == ("full", "no_lambda")


@pytest.mark.parametrize("path", sorted((ROOT / "ablations").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_spec_is_valid(path: Path) -> None:
    assert load_question(path, model_preset("tiny")).variants


MISTAKES = {
    "value": ("model.image_scale: fixed", "model.image_scale: fixd",
              "5: variants.no_lambda.model.image_scale is 'fixd'. Known: learned, fixed. "
              "Did you mean 'fixed'?"),
    "setting": ("model.image_scale", "model.image_scal",
                "5: variants.no_lambda: unknown key 'model.image_scal'. Known: label, "
                f"{', '.join(SWITCHES)}. Did you mean 'model.image_scale'?"),
    "weights": ("model.image_scale: fixed", "weights: dynamicrafters",
                "5: variants.no_lambda.weights is 'dynamicrafters'. Known: dynamicrafter. "
                "Did you mean 'dynamicrafter'?"),
    "key": ("source:", "sourc:", "1: source is missing"),
    "metric": ("metric: fvd", "metric: fdv",
               f"7: expect[0].metric is 'fdv'. Known: {', '.join(MEASURES)}. Did you mean 'fvd'?"),
    "variant": ("[full, no_lambda]", "[full, no_lamda]",
                "7: expect[0].better[1]: unknown variant 'no_lamda'. Known: full, no_lambda. "
                "Did you mean 'no_lambda'?"),
    "one variant": ("[full, no_lambda]", "[full]", "7: expect[0].better is ['full']: "),
    "named twice": ("[full, no_lambda]", "[full, full]", "7: expect[0].better[1]: 'full' is named twice"),
    "label": ('label: "Full"', "label: 12", "4: variants.full.label is 12: allowed is text"),
    "duplicate": ("  no_lambda:", "  full:", "5: variants.full is given twice (first in line 4)"),
    "boolean": ("model.image_scale: fixed", "model.image_scale: no",
                "5: variants.no_lambda.model.image_scale is the word no, a boolean in YAML: "
                "write true or false, or quote it 'no'"),
    "octal": ("model.image_scale: fixed", "model.image_scale: 012",
              "5: variants.no_lambda.model.image_scale is '012', which YAML reads as another number: "
              "write a plain decimal number, or quote it"),
    "alias": ('{label: "Full"}', "&all {label: x}", "4: anchors (&) and aliases (*) are not allowed"),
    "tag": ('label: "Full"', "label: !!python/name:os.system x", "4: variants.full.label has the tag "),
    "empty question": ("question: What?", 'question: ""', "1: question is '': "),
    "variant name": ("  full:", "  fu ll:", "4: variants.fu ll: a variant's name has letters,"),
    "no mapping": ('{label: "Full"}', "12", "4: variants.full is 12: "),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_line_and_what_is_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = errors(write(tmp_path, GOOD.replace(old, new, 1)))
    assert any(line.startswith(message) for line in found), found


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("fixed", "fixd").replace("fvd", "fdv").replace("source", "sorce")
    found = errors(write(tmp_path, text))
    assert [line.split(":")[0] for line in found] == ["1", "2", "5", "7"]
    assert "Did you mean 'source'?" in found[1]


def test_all_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD.replace("fixed", "fixd"), "a.yaml")
    second = write(tmp_path, GOOD.replace("fvd", "fdv"), "b.yaml")
    with pytest.raises(UsageError) as caught:
        load_questions([first, second, tmp_path / "c.yaml"])
    assert [message.split(": ")[0] for message in caught.value.messages] == [
        f"{first}:5", f"{second}:7", f"{tmp_path}/c.yaml",
    ]  # fmt: skip
    assert "Known: a.yaml, b.yaml" in caught.value.messages[2]


def test_two_questions_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [write(tmp_path, GOOD), write(tmp_path / "other", GOOD)]
    with pytest.raises(UsageError, match="a question named 'q' is given already"):
        load_questions(paths)


IMPOSSIBLE = {
    "lambda without context": (
        "model.context: none, model.image_scale: fixed",
        "model.image_scale: 'fixed' has",
    ),
    "one stage without context": (
        "model.context: none, train.schedule: one_stage",
        "train.schedule: 'one_stage'",
    ),
    "no image at all": (
        "model.context: none, model.visual_detail_guidance: none, train.condition_frame: first",
        "train.condition_frame: 'first' has no effect",
    ),
    "a released model that is changed": (
        "weights: dynamicrafter, model.context: none",
        "model.context: the variant is the model in the file --weights dynamicrafter=FILE and is not trained. Leave",
    ),
    "a released model that is trained": (
        "weights: dynamicrafter, train.trainable: entire",
        "train.trainable: the variant is the model in the file",
    ),
    "eps with zero SNR": (
        "model.prediction: eps, model.zero_terminal_snr: true",
        "model.zero_terminal_snr: prediction 'eps' cannot be combined with zero_terminal_snr",
    ),
}


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_combinations_are_refused(tmp_path: Path, settings: str, message: str) -> None:
    found = errors(write(tmp_path, GOOD.replace("model.image_scale: fixed", settings)))
    assert len(found) == 1
    assert found[0].startswith(f"5: variants.no_lambda.{message}")


def test_a_combination_can_be_impossible_for_the_profiles_model_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("model.image_scale: fixed", "model.prediction: eps"))
    assert load_question(path).variants
    zero = replace(ModelConfig(), diffusion=DiffusionConfig(prediction="v", zero_terminal_snr=True))
    assert "model.prediction: prediction 'eps' cannot" in errors(path, zero)[0]


HOSTILE = {
    "deep nesting": ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 20 levels"),
    "alias bomb": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "anchors (&) and aliases (*) are not allowed",
    ),
    "huge scalar": ("question: " + "x" * 10_000_000, "bytes; allowed: at most"),
    "empty": ("", "the file is empty"),
    "a list": ("- 1\n- 2", "a mapping of keys is expected"),
    "no YAML": ("question: [unclosed", "not valid YAML"),
    "two documents": (GOOD + "---\n" + GOOD, "more than one document"),
    "a list as key": ("? [a, b]\n: 1", "a key must be a word"),
    "control characters": ("question: \x00", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_quickly(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in line for line in errors(write(tmp_path, text)))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8 text" in errors(path)[0]
