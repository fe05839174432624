"""One picture and a sentence make a clip: from the store, from a checkpoint, and what is refused."""

import json
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

from bench import animate_models as module
from bench.animate import ENDS, Request, animate, find_target
from bench.animate_models import needed
from bench.cli import main
from bench.errors import UsageError
from bench.graph import Step
from bench.profile import ROOT
from bench.runner import Options, prepare
from bench.variants import Settings
from models import presets
from models.autoencoder import Autoencoder
from models.checkpoint import Modules, OfficialState, key_list, official_state, to_official, unused_entries
from models.config import ModelConfig
from models.dynamicrafter import DynamiCrafter, parameter_group, text_to_image, text_to_video
from models.encoders import ClipPair, ImageEncoder, TextEncoder
from models.schedule import Schedule
from models.weights import load_state, save_module

SPEC = ROOT / "ablations" / "dual_stream.yaml"
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
    options = {"image": folder / "picture.png", "prompt": "a red circle moves left"} | options
    animate(Request(out=out, **options))  # type: ignore[arg-type]


def test_a_checkpoint_of_ours_makes_a_playable_clip_and_says_how(folder, tmp_path, capsys):
    out = tmp_path / "new" / "clip.mp4"
    make(folder, out)
    frames, codec, layout, rate = decoded(out)
    assert (frames.shape, codec, layout, rate) == ((8, 256, 256, 3), "h264", "yuv420p", 8.0)
    said = capsys.readouterr().out
    assert re.search(r"own\.safetensors, layout of this project, profile small, sha256 [0-9a-f]{64}", said)
    assert "picture.png: 80x48, transparency laid on white, resized to 53x32, its centre 32x32 taken" in said
    words = (
        r"sampled: 8 frames of 32x32, 2 steps \(uniform_trailing\), guidance 2, frame stride 3, noise seed 0, [\d.]+ s"
    )
    assert re.search(words, said)
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
        out = tmp_path / f"{name}.mp4"
        make(folder, out, image=folder / f"{image}.png", prompt=prompt)
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


def interpolation_preset() -> ModelConfig:
    """A model of the tiny size that is shown the first and the last picture, in frames per second."""
    return replace(presets.tiny(), visual_detail_guidance="first_and_last", frame_rate="fps")


@pytest.fixture
def interpolation(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A profile without a world for such a model, and its checkpoint."""
    monkeypatch.setattr(interpolation_preset, "__module__", presets.__name__)
    monkeypatch.setattr(presets, "interpolation_preset", interpolation_preset, raising=False)
    text = (folder / "small.yaml").read_text().replace("model: smoke", "model: interpolation_preset")
    text = re.sub(r"^world: .*$", "rate: {animate: 5}", text, flags=re.MULTILINE)
    (tmp_path / "toy.yaml").write_text(text)
    torch.manual_seed(1)
    config = interpolation_preset()
    made: dict[str, torch.nn.Module] = {"vae": Autoencoder(config.autoencoder), "clip": ClipPair(config.clip)}
    save_official(modules(config, made), tmp_path / "toy.safetensors")
    return {"profile": str(tmp_path / "toy.yaml"), "checkpoint": tmp_path / "toy.safetensors"}


def test_a_loop_drops_its_last_frame_and_an_end_image_counts(folder, interpolation, tmp_path):
    make(folder, tmp_path / "loop.mp4", loop=True, **interpolation)
    assert len(decoded(tmp_path / "loop.mp4")[0]) == 7
    for color in ("white", "black"):
        Image.new("RGB", (40, 40), color).save(tmp_path / f"{color}.png")
        make(folder, tmp_path / f"{color}.mp4", end_image=tmp_path / f"{color}.png", **interpolation)
        assert len(decoded(tmp_path / f"{color}.mp4")[0]) == 8
    assert (tmp_path / "white.mp4").read_bytes() != (tmp_path / "black.mp4").read_bytes()
    with pytest.raises(UsageError, match="profile toy goes from a first picture to a last one: give --end-image"):
        make(folder, tmp_path / "one.mp4", **interpolation)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loop": True}, r"--loop: the model of profile small has .* 'repeat'.*--profile 512-interp"),
        ({"end_image": Path("picture.png")}, r"--end-image: the model of profile small"),
        ({"seed": -1}, r"--seed is -1; allowed: whole numbers from 0"),
        ({"device": "gpu"}, r"--device is 'gpu'\. Known: auto, cpu, cuda"),
        ({"profile": "512", "checkpoint": None}, r"--profile 512 has nothing to train on here: give --checkpoint"),
        ({"profile": "512_interp"}, r"profile 512-interp goes from a first picture to a last one"),
        ({"profile": "tinny"}, r"--profile tinny: Known: .*1024.* Did you mean 'tiny'\?"),
        ({"steps": 0}, r"--steps is 0; allowed: 1 to 1000"),
        ({"steps": 1001}, r"--steps is 1001; allowed: 1 to 1000"),
        ({"guidance_scale": float("nan")}, r"--guidance-scale is nan; allowed: a number"),
        ({"spacing": "official"}, r"--spacing is 'official'\. Known: .*official_uniform"),
        ({"fps": 8}, r"--fps: the model of profile small is told frame strides: give --frame-stride"),
        ({"profile": "512", "frame_stride": 3}, r"--frame-stride: the model of profile 512 is told frames per second"),
        ({"frame_stride": 0}, r"--frame-stride is 0; allowed: whole numbers from 1"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_any_work(folder, tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        make(folder, tmp_path / "clip.mp4", **changes)
    assert not (tmp_path / "clip.mp4").exists()


def test_all_reasons_are_given_at_once_and_the_command_is_wrong(folder, tmp_path, capsys):
    command = ["animate", str(folder / "picture.png"), "--prompt", "", "--loop", "--seed", "-2"]
    command += ["--profile", str(folder / "small.yaml"), "--checkpoint", str(folder / "own.safetensors")]
    assert main([*command, "--out", str(tmp_path / "clip.avi")]) == 2
    said = capsys.readouterr().err
    assert "clip.avi: allowed is a name that ends in .mp4 or .gif, or a folder (no suffix) for PNGs" in said
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
    with pytest.raises(ValueError, match=r"official.safetensors does not fit, \d+ entries"):
        make(folder, tmp_path / "clip.mp4", profile="256", checkpoint=folder / "official.safetensors")


def test_a_released_checkpoint_of_another_size_is_recognised(folder, tmp_path, monkeypatch):
    for name, size in {"256": "256", "512": "512 or 512_interp"}.items():
        shapes = key_list(name)
        table = torch.full((1400,), 0.7)
        state = OfficialState(shapes, lambda entry: table, {})  # noqa: B023
        for place in ("bench.animate_models", "models.checkpoint"):
            monkeypatch.setattr(f"{place}.open_official", lambda path, state=state: state)
        with pytest.raises(ValueError, match=f"is a released checkpoint of size {size}: say so with --profile"):
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
    with pytest.raises(ValueError, match=r"bad\.png cannot be read as an image"):
        make(folder, tmp_path / "clip.mp4", image=bad)


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


@pytest.mark.slow
def test_an_interpolation_model_is_trained_for_the_tiny_world_on_first_use(folder, tmp_path, monkeypatch, capsys):
    """No file is needed for --end-image and --loop."""
    monkeypatch.chdir(tmp_path)
    make(folder, tmp_path / "trained", checkpoint=None, loop=True)
    said = capsys.readouterr().out
    assert "the full model, shown the first and the last picture, profile small" in said and "training it first" in said
    assert len(list((tmp_path / "trained").iterdir())) == 7
    (curve,) = [p for p in (tmp_path / "runs/store/artifacts/train").glob("*/curve.jsonl") if '"iii"' in p.read_text()]
    assert json.loads(curve.read_text().splitlines()[-1])["step"] == 3 * 2  # a longer stage iii than the variants'


def test_an_interpolation_model_that_comes_with_a_profile_is_used(folder, tmp_path, monkeypatch, capsys):
    torch.manual_seed(3)
    config = presets.tiny()
    parts = modules(config, {"clip": ClipPair(config.clip), "vae": Autoencoder(config.autoencoder)})
    own = {k: v.clone() for k, v in parts.model.state_dict().items() if parameter_group(k) != "temporal"}
    save_file(own, tmp_path / "own.safetensors")
    text = (folder / "small.yaml").read_text().replace("  vae:", f"  interpolation: {tmp_path}/own.safetensors\n  vae:")
    (tmp_path / "shipped.yaml").write_text(text)
    monkeypatch.setattr(module, "prepare", None)  # nothing is planned, let alone trained
    changes = {"checkpoint": None, "loop": True, "profile": str(tmp_path / "shipped.yaml")}
    make(folder, tmp_path / "shipped", **changes)
    assert "own.safetensors on " in capsys.readouterr().out
    save_file({"unet.conv_in.bias": own["unet.conv_in.bias"]}, tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match=r"lack \d+ parameters of the model, as projector"):
        make(folder, tmp_path / "lacking", **changes)


def test_weights_that_a_profile_starts_from_must_be_there(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lacking = (folder / "small.yaml").read_text().replace(f"{folder}/t2v.", "nowhere/t2v.")
    (tmp_path / "lacking.yaml").write_text(lacking)
    with pytest.raises(UsageError, match=r"nowhere/t2v\.safetensors: there is no such file; the model starts"):
        make(folder, tmp_path / "clip.mp4", checkpoint=None, profile=str(tmp_path / "lacking.yaml"))


def test_the_steps_are_those_that_a_whole_run_would_do(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = prepare(Options(specs=(SPEC,), profile=str(folder / "small.yaml"))).plan
    (last_asked,) = prepare(
        Options((), str(folder / "small.yaml")), [module._question(Settings())]
    ).plan.variants.values()
    assert (
        last_asked.training[0][-1].step.fingerprint
        == plan.variants["dual_stream", "full"].training[0][-1].step.fingerprint
    )
    last = plan.variants["dual_stream", "full"].training[0][-1].step
    assert isinstance(last, Step)
    steps = list(needed(last))
    assert {step.fingerprint for step in steps} < {step.fingerprint for step in plan.graph}
    assert [step.kind for step in steps].count("train") == 3
    assert steps[-1] is last


DEFAULTS = {"256": 3, "512": 24, "1024": 10, "512_interp": 5, "512-interp": 5, "tiny": 3, "smoke": 3}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_name_stands_for_a_model_and_a_sampler_that_go_together(name):
    target = find_target(Request(Path("x.png"), "", Path("x.mp4"), profile=name))
    table = Schedule(target.model.diffusion).ddim(target.sampler.spacing, target.sampler.steps, target.sampler.eta)
    assert len(table) == target.sampler.steps
    assert target.fs == DEFAULTS[name]
    assert (target.model.visual_detail_guidance == ENDS) == ("interp" in name)


def test_the_requests_numbers_lie_over_the_profiles():
    request = Request(Path("x"), "", Path("x.mp4"), profile="512", steps=7, guidance_scale=3.0, fps=18,
                      spacing="official_uniform_trailing")  # fmt: skip
    target = find_target(request)
    assert (target.sampler.steps, target.sampler.text_scale, target.sampler.spacing, target.fs) == (
        7, 3.0, "official_uniform_trailing", 18,
    )  # fmt: skip
    assert target.sampler.guidance_rescale == 0.7  # and the rest is the profile's


def test_options_change_the_clip_and_a_rate_that_was_never_seen_is_noted(folder, tmp_path, capsys):
    clips = set()
    for changes in ({}, {"steps": 3}, {"guidance_scale": 1.0}, {"frame_stride": 9}, {"spacing": "uniform"}):
        make(folder, tmp_path / "clip", **changes)
        clips.add(b"".join(path.read_bytes() for path in sorted((tmp_path / "clip").iterdir())))
        for path in (tmp_path / "clip").iterdir():
            path.unlink()
    assert len(clips) == 5
    assert "note: --frame-stride 9 is beyond what the model has seen, 3 to 3" in capsys.readouterr().out


def test_a_clip_is_a_video_an_animation_or_lossless_frames(folder, tmp_path, capsys):
    for name in ("clip.mp4", "clip.gif", "frames"):
        make(folder, tmp_path / name)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"], gif.info["loop"]) == (8, (256, 256), 120, 0)
    files = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in files] == [f"{k:03d}.png" for k in range(8)]
    stored = np.stack([np.asarray(Image.open(path)) for path in files])
    assert stored.shape == (8, 32, 32, 3)
    shown = decoded(tmp_path / "clip.mp4")[0][:, 4::8, 4::8]
    assert np.abs(shown.astype(int) - stored).mean() < 12  # h264 against no loss
    assert "written: 8 frames of 32x32 as frames/000.png to 007.png, without loss" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a folder of PNGs must be new or empty"):
        make(folder, tmp_path / "frames")


def test_a_name_with_a_colon_is_a_file_and_no_address(tmp_path, monkeypatch):
    from bench.previews import write_video

    monkeypatch.chdir(tmp_path)
    write_video(Path("a:b/clip.mp4"), np.zeros((2, 16, 16, 3), np.uint8))
    assert [path.name for path in (tmp_path / "a:b").iterdir()] == ["clip.mp4"]
