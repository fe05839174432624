"""Language and image models of the user's: tiny random ones are run for real, bad folders are named."""

import json
import shutil
from pathlib import Path

import pytest

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.language import LanguageModel
from bench.story.language import LEAST, MOST, USUAL, parse_shots

transformers = pytest.importorskip("transformers")
WORDS = ("a", "the", "red", "blue", "square", "circle", "moves", "up", "|", "1", "2", "Write", "story", "shots")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of random weights, saved as a user's folder would be."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("language")
    vocabulary = {word: k for k, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    ).save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text-to-image pipeline of random weights."""
    pytest.importorskip("diffusers")
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("image")
    pieces = [*"abcdefghijklmnopqrstuvwxyz", *(f"{one}</w>" for one in "abcdefghijklmnopqrstuvwxyz")]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: k for k, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    torch.manual_seed(0)
    text = CLIPTextConfig(hidden_size=8, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1,
                          vocab_size=len(pieces), max_position_embeddings=16, bos_token_id=52, eos_token_id=53,
                          pad_token_id=53)  # fmt: skip
    unet = UNet2DConditionModel(sample_size=8, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=8,
                                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=4,
                                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4)  # fmt: skip
    vae = AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2)  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline", safe_serialization=True)  # fmt: skip
    return folder / "pipeline"


def tell(script: Path, out: Path, *more: object) -> int:
    return main(["story", str(script), "--out", str(out), "--steps", "1", "--device", "cpu", *map(str, more)])


def test_a_story_is_written_and_drawn_by_the_users_models(writer, painter, tmp_path, capsys):
    (tmp_path / "script.yaml").write_text("premise: a red square moves up\ncount: 2\n")
    models = ("--language-model", writer, "--image-model", painter)
    assert tell(tmp_path / "script.yaml", tmp_path / "out", *models) == 0
    said = json.loads((tmp_path / "out/story.json").read_text())
    assert said["premise"] == "a red square moves up" and said["written_by"]["sha256"]
    assert {shot["begins"]["by"]["model"] for shot in said["shots"]} == {"StableDiffusionPipeline"}
    assert 1 <= len(said["shots"]) <= 2 and set(said["shots"][0]["text"].split()) <= {*WORDS, "<unk>"}
    capsys.readouterr()
    assert tell(tmp_path / "script.yaml", tmp_path / "again", *models) == 0
    for name in ("story.json", "story.mp4", "shots/001/000.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_answer_is_the_new_text_alone_and_always_the_same(writer):
    model = LanguageModel.open(writer)
    first = model.answer("Write a story", 12)
    assert first and first == model.answer("Write a story", 12)
    assert first == LanguageModel.open(writer).answer("Write a story", 12)
    assert len(model.answer("Write a story", 3).split()) <= 3
    assert set(model.identity) == {"folder", "sha256"}


def test_a_chat_template_is_used_where_there_is_one(writer, tmp_path):
    import shutil

    shutil.copytree(writer, tmp_path / "chat")
    plain = LanguageModel.open(tmp_path / "chat")
    plain.tokenizer.chat_template = "{% for m in messages %}story red red {{ m.content }} blue{% endfor %}"
    asked = plain._tokens("square")
    assert plain.tokenizer.decode(asked[0]) == "story red red square blue"


def test_what_a_model_writes_becomes_shots_of_bounded_length():
    answer = """
    1. 2.5 | A red square moves right.
    - 4s | it \x07 stops
    99 seconds | the end
    0 | too short
    no seconds here
    """
    shots = parse_shots(answer, 9)
    assert [(shot.seconds, shot.text) for shot in shots] == [
        (2.5, "A red square moves right."), (4.0, "it stops"), (MOST, "the end"), (LEAST, "too short"),
        (USUAL, "no seconds here"),
    ]  # fmt: skip
    assert {shot.begins for shot in shots} == {"drawn"} and len(parse_shots(answer, 2)) == 2
    assert [len(shot.text) for shot in parse_shots("x" * 5000 + "\n" + "words " * 50, 2)] == [200, 197]
    assert parse_shots("\n \n...\x00\n", 3) == () and parse_shots("", 3) == ()


def test_a_folder_that_is_no_model_is_named_with_what_to_give(tmp_path, writer):
    import shutil

    with pytest.raises(UsageError, match="no such folder; give a folder of transformers"):
        LanguageModel.open(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"it has no config\.json"):
        LanguageModel.open(tmp_path)
    shutil.copytree(writer, tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").rename(tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(UsageError, match="no weights in safetensors"):
        LanguageModel.open(tmp_path / "pickled")
    shutil.copytree(writer, tmp_path / "cut")
    whole = (tmp_path / "cut/model.safetensors").read_bytes()
    (tmp_path / "cut/model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cut: "):
        LanguageModel.open(tmp_path / "cut")


def test_code_that_a_folder_brings_is_not_run(tmp_path, writer):
    import shutil

    shutil.copytree(writer, tmp_path / "code")
    config = json.loads((tmp_path / "code/config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}}
    (tmp_path / "code/config.json").write_text(json.dumps(config))
    (tmp_path / "code/own.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    with pytest.raises(UsageError):
        LanguageModel.open(tmp_path / "code")
    assert not (tmp_path / "ran").exists()


def test_an_image_model_that_is_none_is_named(tmp_path, painter, capsys):
    import shutil

    (tmp_path / "script.yaml").write_text("shots:\n- {text: a red square, seconds: 0.5}\n")
    assert tell(tmp_path / "script.yaml", tmp_path / "out", "--image-model", tmp_path) == 2
    assert "it has no model_index.json; give a folder of diffusers" in capsys.readouterr().err
    for key, part, words in (
        ("_class_name", "CogVideoXPipeline", "no text-to-image pipeline"),
        ("unet", ["os", "system"], "'os'"),
    ):
        shutil.copytree(painter, tmp_path / key)
        index = json.loads((painter / "model_index.json").read_text()) | {key: part}
        (tmp_path / key / "model_index.json").write_text(json.dumps(index))
        assert tell(tmp_path / "script.yaml", tmp_path / "out", "--image-model", tmp_path / key) == 1
        assert words in capsys.readouterr().err


def test_a_model_that_writes_nothing_is_told(writer, monkeypatch):
    from bench.story.language import write_shots

    model = LanguageModel.open(writer)
    monkeypatch.setattr(LanguageModel, "answer", lambda self, instruction, most: "\n\n")
    with pytest.raises(BenchError, match=r"wrote nothing that could be a shot.*Write shots: in the script yourself"):
        write_shots(model, "a walk", 2)


def test_without_the_libraries_it_is_said_what_to_install(writer, monkeypatch):
    monkeypatch.setattr("bench.model_folders.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'diffusers and transformers not installed: pip install -e "\.\[systems\]"'):
        LanguageModel.open(writer)


def test_a_model_that_opens_and_fails_later_is_told_on_one_line(writer, painter, tmp_path, capsys):
    config = json.loads((writer / "tokenizer_config.json").read_text())
    shutil.copytree(writer, tmp_path / "odd")
    config["chat_template"] = "{{ raise_exception('no such role') }}"
    (tmp_path / "odd" / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "odd" / "chat_template.jinja").write_text(config["chat_template"])
    with pytest.raises(BenchError, match=r"odd: it cannot answer.*no such role"):
        LanguageModel.open(tmp_path / "odd").answer("a walk", 4)
    (tmp_path / "script.yaml").write_text("shots: [{text: a red square, seconds: 0.5}]\n")
    shutil.copytree(painter, tmp_path / "draws")
    scheduler = tmp_path / "draws" / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "num_train_timesteps": 3}))
    assert tell(tmp_path / "script.yaml", tmp_path / "out", "--image-model", tmp_path / "draws") == 1
    assert "draws: it cannot draw" in capsys.readouterr().err
