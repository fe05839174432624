"""One picture and a sentence make a clip: from the store, from a checkpoint, and what is refused."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bench import animate as module
from bench.animate import RELEASED, SPEC, animate, find_target, needed
from bench.cli import main
from bench.errors import UsageError
from bench.graph import Step
from bench.profile import ROOT
from bench.runner import Options, prepare
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Modules, OfficialState, key_list, official_state, to_official, unused_entries
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, text_to_image, text_to_video
from models.encoders import ClipPair, ImageEncoder, TextEncoder
from models.schedule import Schedule
from models.weights import load_state, save_module

WORLD = "world: {train_videos: 4, ucf101_groups: 8, ucf101_clips: 1, msrvtt_videos: 4, seed: 7}"
PROFILE = (ROOT / "ablations" / "profiles" / "smoke.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small.yaml (the smoke profile with drawn weights), a picture, and checkpoints in both layouts."""
    root = tmp_path_factory.mktemp("animate")
    torch.manual_seed(0)
    config = presets.tiny()
    parents = {"t2v": text_to_video(config), "t2i": text_to_image(config)}
    made: dict[str, torch.nn.Module] = {name: DynamiCrafter(c) for name, c in parents.items()}
    made |= {"vae": Autoencoder(config.autoencoder), "clip": ClipPair(config.clip)}
    for name, part in made.items():
        save_module(part, root / f"{name}.safetensors")
    text = re.sub(r"weights/tiny/", f"{root}/", PROFILE)
    text = re.sub(r"^world: .*$", WORLD, text, flags=re.MULTILINE)
    (root / "small.yaml").write_text(text)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 80, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(root / "picture.png")
    parts = modules(config, made)
    save_module(parts.model, root / "own.safetensors")
    save_official(parts, root / "official.safetensors")
    return root


def modules(config: ModelConfig, made: dict[str, torch.nn.Module]) -> Modules:
    """A DynamiCrafter that is not the identity at any layer, with the frozen parts of `made`."""
    model = DynamiCrafter(config)
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.05)
    text, image = TextEncoder(config.clip), ImageEncoder(config.clip)
    for encoder in (text, image):
        load_state(encoder, encoder.weights_from(made["clip"].state_dict()), "clip")
    autoencoder = made["vae"]
    assert isinstance(autoencoder, Autoencoder)
    return Modules(model, autoencoder, text, image)


def save_official(parts: Modules, path: Path) -> None:
    rest = {name: torch.zeros(shape) for name, shape in unused_entries(parts).items()}
    state = to_official(parts, official_state(rest))
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)


def decoded(path: Path) -> tuple[np.ndarray, str, str, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        context = stream.codec_context
        return np.stack(frames), context.name, str(context.pix_fmt), float(stream.average_rate)


def make(folder: Path, out: Path, **changes: object) -> None:
    options = {"profile": str(folder / "small.yaml"), "checkpoint": folder / "own.safetensors"} | changes
    animate(folder / "picture.png", "a red circle moves left", out, **options)  # type: ignore[arg-type]


def test_a_checkpoint_of_ours_makes_a_playable_clip_and_says_how(folder, tmp_path, capsys):
    out = tmp_path / "new" / "clip.mp4"
    make(folder, out)
    frames, codec, layout, rate = decoded(out)
    assert (frames.shape, codec, layout, rate) == ((8, 256, 256, 3), "h264", "yuv420p", 8.0)
    said = capsys.readouterr().out
    assert re.search(r"own\.safetensors, layout of this project, profile small, sha256 [0-9a-f]{64}", said)
    assert "picture.png: 80x48, resized to 53x32, its centre 32x32 taken" in said
    assert re.search(r"sampled: 8 frames of 32x32, 2 steps, noise seed 0, [\d.]+ s on cpu", said)
    assert "written: 8 frames of 256x256, every pixel shown as 8x8, 8 frames per second\n" in said
    command = ["animate", str(folder / "picture.png"), "--prompt", "a red circle moves left"]
    command += ["--profile", str(folder / "small.yaml"), "--checkpoint", str(folder / "own.safetensors")]
    before = out.read_bytes()
    assert main([*command, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"replacing the file that was there\n{out}\n")
    assert out.read_bytes() == before


def test_seed_and_prompt_and_picture_decide_the_bytes(folder, tmp_path):
    clips = {}
    for name, changes in {"a": {}, "again": {}, "seed": {"seed": 1}}.items():
        make(folder, tmp_path / f"{name}.mp4", **changes)
        clips[name] = (tmp_path / f"{name}.mp4").read_bytes()
    for name, image, prompt in (("prompt", "picture", "blue"), ("picture", "grey", "a red circle moves left")):
        Image.new("L", (64, 64), 90).save(folder / "grey.png")
        profile, checkpoint = str(folder / "small.yaml"), folder / "own.safetensors"
        out = tmp_path / f"{name}.mp4"
        animate(folder / f"{image}.png", prompt, out, profile=profile, checkpoint=checkpoint)
        clips[name] = out.read_bytes()
    assert clips.pop("again") == clips["a"]
    assert len(set(clips.values())) == len(clips)


def test_the_official_layout_gives_the_same_clip_as_ours(folder, tmp_path, capsys):
    make(folder, tmp_path / "ours.mp4")
    state = load_file(folder / "official.safetensors")
    torch.save({"state_dict": state, "epoch": 1}, folder / "official.ckpt")
    for name in ("official.safetensors", "official.ckpt"):
        make(folder, tmp_path / "theirs.mp4", checkpoint=folder / name)
        assert (tmp_path / "theirs.mp4").read_bytes() == (tmp_path / "ours.mp4").read_bytes(), name
    assert "official.ckpt, official layout, profile small" in capsys.readouterr().out


@pytest.fixture
def interpolation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A released size "toy" with first-and-last guidance, and its checkpoint."""
    config = replace(presets.tiny(), visual_detail_guidance="first_and_last")
    sampler = replace(presets.sampler_tiny(), steps=2)
    monkeypatch.setitem(RELEASED, "toy", (lambda: config, lambda: sampler))
    torch.manual_seed(1)
    made: dict[str, torch.nn.Module] = {"vae": Autoencoder(config.autoencoder), "clip": ClipPair(config.clip)}
    save_official(modules(config, made), folder / "toy.safetensors")
    return folder / "toy.safetensors"


def test_a_loop_drops_its_last_frame_and_an_end_image_counts(folder, interpolation, tmp_path):
    changes = {"profile": "toy", "checkpoint": interpolation}
    make(folder, tmp_path / "loop.mp4", loop=True, **changes)
    assert len(decoded(tmp_path / "loop.mp4")[0]) == 7
    for color in ("white", "black"):
        Image.new("RGB", (40, 40), color).save(tmp_path / f"{color}.png")
        make(folder, tmp_path / f"{color}.mp4", end_image=tmp_path / f"{color}.png", **changes)
        assert len(decoded(tmp_path / f"{color}.mp4")[0]) == 8
    assert (tmp_path / "white.mp4").read_bytes() != (tmp_path / "black.mp4").read_bytes()
    with pytest.raises(UsageError, match="profile toy goes from a first picture to a last one: give --end-image"):
        make(folder, tmp_path / "one.mp4", **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loop": True}, r"--loop: the model of profile small has .* 'repeat'.*--profile 512_interp"),
        ({"end_image": Path("picture.png")}, r"--end-image: the model of profile small"),
        ({"seed": -1}, r"--seed is -1; allowed: whole numbers from 0"),
        ({"device": "gpu"}, r"--device is 'gpu'\. Known: auto, cpu, cuda"),
        ({"profile": "512", "checkpoint": None}, r"--profile 512 has nothing to train on here: give --checkpoint"),
        ({"profile": "512-interp"}, r"profile 512_interp goes from a first picture to a last one"),
        ({"profile": "tinny"}, r"--profile tinny: Known: .*1024.* Did you mean 'tiny'\?"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_any_work(folder, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        make(folder, tmp_path / "clip.mp4", **changes)
    assert not (tmp_path / "clip.mp4").exists()


def test_all_reasons_are_given_at_once_and_the_command_is_wrong(folder, tmp_path, capsys):
    command = ["animate", str(folder / "picture.png"), "--prompt", "", "--loop", "--seed", "-2"]
    assert main([*command, "--out", str(tmp_path / "clip.gif"), "--profile", str(folder / "small.yaml")]) == 2
    said = capsys.readouterr().err
    assert "clip.gif: allowed is a file whose name ends in .mp4" in said
    assert "--seed is -2" in said
    assert "--loop" in said


def test_weights_that_do_not_fit_are_named(folder, tmp_path):
    narrow = replace(presets.tiny(), visual_detail_guidance="none")
    save_module(DynamiCrafter(narrow), tmp_path / "no_vdg.safetensors")
    with pytest.raises(ValueError, match=r"conv_in.weight has shape \(24, 4, 3, 3\), the module needs \(24, 8"):
        make(folder, tmp_path / "clip.mp4", checkpoint=tmp_path / "no_vdg.safetensors")
    with pytest.raises(ValueError, match="neither an official checkpoint nor a DynamiCrafter of this project"):
        make(folder, tmp_path / "clip.mp4", checkpoint=folder / "vae.safetensors")
    with pytest.raises(ValueError, match="has no autoencoder and encoders of its own"):
        make(folder, tmp_path / "clip.mp4", profile="256", checkpoint=folder / "own.safetensors")
    with pytest.raises(ValueError, match=r"the checkpoint does not fit, \d+ entries"):
        make(folder, tmp_path / "clip.mp4", profile="256", checkpoint=folder / "official.safetensors")


def test_a_released_checkpoint_of_another_size_is_recognised(folder, tmp_path, monkeypatch):
    for name, sizes in {"256": "size 256:", "512": "size 512, 1024 or 512_interp:"}.items():
        state = OfficialState(key_list(name), lambda entry: torch.zeros(1))
        monkeypatch.setattr(module, "open_official", lambda path, state=state: state)
        with pytest.raises(ValueError, match=f"is a released checkpoint of {sizes} say so with --profile"):
            make(folder, tmp_path / "clip.mp4")


def test_a_file_with_code_in_it_is_refused_and_not_run(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(ValueError, match="cannot be read as tensors alone"):
        make(folder, tmp_path / "clip.mp4", checkpoint=bad)
    assert not (tmp_path / "ran").exists()


def test_a_picture_that_is_none_is_named(folder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    profile, checkpoint = str(folder / "small.yaml"), folder / "own.safetensors"
    with pytest.raises(ValueError, match=r"bad\.png cannot be read as an image"):
        animate(bad, "", tmp_path / "clip.mp4", profile=profile, checkpoint=checkpoint)


def test_without_a_checkpoint_the_model_is_trained_once_and_then_reused(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(folder, tmp_path / "first.mp4", checkpoint=None)
    first = capsys.readouterr()
    assert "is not in runs/store yet: training it first" in first.out
    monkeypatch.setattr(module, "LocalEngine", None)  # a second start of the engine would fail
    make(folder, tmp_path / "second.mp4", checkpoint=None)
    said = capsys.readouterr().out
    assert "training it first" not in said
    fingerprint = re.search(r"training seed 0, train ([0-9a-f]{64})\n", said)
    assert fingerprint and (tmp_path / "runs/store/artifacts/train" / fingerprint[1]).is_dir()
    assert (tmp_path / "first.mp4").read_bytes() == (tmp_path / "second.mp4").read_bytes()
    kinds = {path.parent.name for path in (tmp_path / "runs/store/artifacts").glob("*/*")}
    assert kinds == {"world", "clips", "encode", "train"}  # and nothing that is only there to be scored


def test_weights_that_a_profile_starts_from_must_be_there(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lacking = (folder / "small.yaml").read_text().replace(f"{folder}/t2v.", "nowhere/t2v.")
    (tmp_path / "lacking.yaml").write_text(lacking)
    with pytest.raises(UsageError, match=r"nowhere/t2v\.safetensors: there is no such file; the model starts"):
        make(folder, tmp_path / "clip.mp4", checkpoint=None, profile=str(tmp_path / "lacking.yaml"))


def test_the_steps_are_those_that_a_whole_run_would_do(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = prepare(Options(specs=(SPEC,), profile=str(folder / "small.yaml"))).plan
    last = plan.variants["dual_stream", "full"].training[0][-1].step
    assert isinstance(last, Step)
    steps = list(needed(last))
    assert {step.fingerprint for step in steps} < {step.fingerprint for step in plan.graph}
    assert [step.kind for step in steps].count("train") == 3
    assert steps[-1] is last


@pytest.mark.parametrize("name", ["256", "512", "1024", "512_interp", "512-interp", "tiny", "smoke"])
def test_every_name_stands_for_a_model_and_a_sampler_that_go_together(name):
    target = find_target(name)
    table = Schedule(target.model.diffusion).ddim(target.sampler.spacing, target.sampler.steps, target.sampler.eta)
    assert len(table) == target.sampler.steps
    assert (target.fs is None) == (name not in ("tiny", "smoke"))
