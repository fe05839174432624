"""`convert` and `check weights`: checkpoints become safetensors, ours official; what does not fit is told."""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.cli import main
from bench.profile import ROOT
from bench.weight_files import describe
from models import presets
from models.checkpoint import (
    KEY_LISTS,
    build_modules,
    expected_entries,
    key_list,
    load_released,
    outline,
    schedule_entries,
    unet_entries,
)
from models.dynamicrafter import DynamiCrafter, text_to_video
from models.parents import UNET
from models.tensor_files import OfficialState, save_state
from models.weights import save_module

TINY = presets.tiny()


def checkpoint(seed: int = 0) -> dict[str, Tensor]:
    """An official checkpoint of the tiny sizes, its weights drawn, its tables right."""
    rng = torch.Generator().manual_seed(seed)
    parts = build_modules(TINY)
    tables = schedule_entries(parts)
    return {
        name: tables[name] if name in tables else torch.randn(shape, generator=rng)
        for name, shape in expected_entries(outline(TINY)).items()
    }


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return checkpoint()


@pytest.fixture
def ckpt(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    """As deepspeed stores it, early names and all."""
    named = {"_forward_module." + n.replace("fps_embedding", "framestride_embed"): t for n, t in tensors.items()}
    path = tmp_path / "model.ckpt"
    torch.save({"module": named, "epoch": 3, "optimizer_states": [{"a": torch.zeros(2)}]}, path)
    return path


def metadata(path: Path) -> dict[str, str]:
    with safe_open(str(path), "pt") as file:
        return file.metadata()


def test_a_checkpoint_becomes_safetensors_once(ckpt, tensors, tmp_path, capsys):
    out = tmp_path / "new" / "model.safetensors"
    assert main(["convert", str(ckpt), "--out", str(out), "--profile", "tiny"]) == 0
    found = load_file(out)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    said = capsys.readouterr().out
    assert "left out, as it is no weights: epoch, optimizer_states" in said
    assert "'_forward_module.' is dropped before every name" in said
    assert "4 entries called framestride_embed are fps_embedding now" in said
    assert f"sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}" in said
    card = metadata(out)
    assert card["source"] == "model.ckpt"
    assert card["source_sha256"] == hashlib.sha256(ckpt.read_bytes()).hexdigest()
    assert "official layout" in card["what"]
    assert [path.name for path in out.parent.iterdir()] == ["model.safetensors"]
    assert load_released(out, TINY).loaded.schedule_differs == ()
    again = tmp_path / "again.safetensors"
    assert main(["convert", "dynamicrafter", str(out), "--out", str(again), "--profile", "tiny"]) == 0
    assert load_file(again).keys() == tensors.keys()


def test_weights_are_cast_and_tables_are_not(ckpt, tensors, tmp_path):
    out = tmp_path / "half.safetensors"
    assert main(["convert", str(ckpt), "--out", str(out), "--profile", "tiny", "--dtype", "float16"]) == 0
    found = load_file(out)
    assert torch.equal(found["betas"], tensors["betas"])
    weights = [name for name in found if "." in name]
    assert {found[name].dtype for name in weights} == {torch.float16}
    assert all(torch.equal(found[name], tensors[name].half()) for name in weights)
    assert load_released(out, TINY).loaded.schedule_differs == ()


def test_a_value_that_half_precision_cannot_hold_is_named(tensors, tmp_path, capsys):
    name = f"{UNET}out.2.bias"
    torch.save({**tensors, name: torch.full((4,), 1e6)}, tmp_path / "m.ckpt")
    words = ["convert", str(tmp_path / "m.ckpt"), "--out", str(tmp_path / "o.safetensors"), "--profile", "tiny"]
    assert main([*words, "--dtype", "float16"]) == 1
    assert f"{name} holds values that are no numbers, or none as float16" in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()
    assert main([*words, "--dtype", "bfloat16"]) == 0


def test_what_does_not_fit_is_refused_with_its_entries(tensors, tmp_path, capsys):
    wrong = {name: tensor for name, tensor in tensors.items() if name != f"{UNET}out.2.bias"} | {"x": torch.zeros(2)}
    torch.save(wrong, tmp_path / "m.ckpt")
    out = tmp_path / "o.safetensors"
    assert main(["convert", str(tmp_path / "m.ckpt"), "--out", str(out), "--profile", "tiny"]) == 1
    errors = capsys.readouterr().err
    assert f"missing {UNET}out.2.bias (4,)" in errors and "left over x (2,)" in errors
    assert main(["convert", str(tmp_path / "m.ckpt"), "--out", str(out)]) == 1
    assert re.search(r"does not fit, \d+ entries:.*and \d+ more", capsys.readouterr().err, re.DOTALL)
    assert not out.exists()


WRONG = {
    "name": (["{ckpt}", "--out", "a.ckpt"], "--out a.ckpt: allowed is a file whose name ends in .safetensors"),
    "absent": (["nowhere.ckpt", "--out", "a.safetensors"], "nowhere.ckpt: there is no such file"),
    "dtype": (["{ckpt}", "--out", "a.safetensors", "--dtype", "float61"], "Did you mean 'float16'?"),
    "kind": (["dynamicrafer", "{ckpt}", "--out", "a.safetensors"], "Did you mean 'dynamicrafter'?"),
    "two": (["a", "b", "c", "--out", "a.safetensors"], "one file at a time"),
    "to": (["{ckpt}", "--out", "a.safetensors", "--to", "ours"], "--to is 'ours'. Known: official."),
    "weights": (["{ckpt}", "--out", "a.safetensors", "--weights", "vae={ckpt}"], "no effect without --to official"),
    "profile": (["{ckpt}", "--out", "a.safetensors", "--profile", "tiyn"], "--profile tiyn"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_exits_2(words, message, ckpt, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *(word.format(ckpt=ckpt) for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(ckpt, tmp_path, capsys):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    out = str(tmp_path / "o.safetensors")
    assert main(["convert", str(tmp_path / "a.safetensors"), "--out", out]) == 1
    assert "is no file of weights that is known here" in capsys.readouterr().err
    assert main(["convert", "dynamicrafter", str(tmp_path / "a.safetensors"), "--out", out]) == 1
    assert "is no checkpoint of DynamiCrafter" in capsys.readouterr().err


def test_our_model_is_written_in_the_official_layout(tmp_path, capsys):
    torch.manual_seed(5)
    model = DynamiCrafter(TINY)
    for tensor in model.parameters():
        torch.nn.init.normal_(tensor, std=0.05)
    save_module(model, tmp_path / "model.safetensors")
    out = tmp_path / "official.safetensors"
    words = ["convert", str(tmp_path / "model.safetensors"), "--to", "official", "--profile", "tiny"]
    assert main([*words, "--out", str(out)]) == 0
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(out).items()}
    assert shapes == expected_entries(outline(TINY))
    parts = load_released(out, TINY).whole
    ours = model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in parts.model.state_dict().items())
    vae = load_file(ROOT / "weights" / "tiny" / "vae.safetensors")
    assert all(torch.equal(tensor, vae[name].float()) for name, tensor in parts.autoencoder.state_dict().items())
    clip = load_file(ROOT / "weights" / "tiny" / "clip.safetensors")
    again = load_file(out)
    assert torch.equal(again["embedder.model.visual.proj"], clip["model.visual.proj"])
    assert torch.equal(again["cond_stage_model.model.text_projection"], clip["model.text_projection"])
    assert set(metadata(out)) >= {"source_sha256", "vae_sha256", "clip_sha256"}
    assert main([*words, "--out", str(out), "--weights", f"vae={out}"]) == 0  # parts may lie in a whole checkpoint


def test_what_has_no_official_form_is_refused(tmp_path, capsys):
    save_module(DynamiCrafter(replace(TINY, context="none")), tmp_path / "a.safetensors")
    save_module(DynamiCrafter(replace(TINY, visual_detail_guidance="none")), tmp_path / "b.safetensors")
    save_file(checkpoint(), tmp_path / "c.safetensors")
    for name, words in (("a", "no context projector"), ("b", "not shown the condition"), ("c", "no model of this pro")):
        source = str(tmp_path / f"{name}.safetensors")
        assert main(["convert", source, "--to", "official", "--out", str(tmp_path / "o.safetensors")]) == 1
        assert words in capsys.readouterr().err
    source = str(tmp_path / "a.safetensors")
    assert main(["convert", source, "--to", "official", "--profile", "512", "--out", str(tmp_path / "o.safetensors")])


def test_weights_are_told_apart(ckpt, tensors, tmp_path, capsys):
    assert main(["check", "weights", str(ckpt)]) == 1
    said = capsys.readouterr().out
    assert "a DynamiCrafter checkpoint in the official layout" in said
    assert f"FAIL {ckpt}: " in said
    assert main(["check", "weights", str(ROOT / "weights" / "tiny" / "clip.safetensors")]) == 0
    assert "float16" in capsys.readouterr().out
    save_file({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.safetensors")
    assert main(["check", "weights", str(tmp_path / "nan.safetensors")]) == 1
    assert "a holds values that are no numbers" in capsys.readouterr().out
    (tmp_path / "no.ckpt").write_bytes(b"nothing")
    assert main(["check", "weights", str(tmp_path / "no.ckpt")]) == 1
    assert "cannot be read as tensors alone" in capsys.readouterr().out


@pytest.mark.parametrize("name", KEY_LISTS)
def test_a_released_size_is_recognised(name):
    base = getattr(presets, f"dynamicrafter_{name}")().diffusion.dynamic_rescale
    shapes = key_list(name)
    state = OfficialState(shapes, lambda n: torch.full((1400,), base or 0.0), dict.fromkeys(shapes, torch.float32))
    found = describe(state)
    wanted = {"256": "it fits 256", "1024": "it fits 1024"}.get(name, "it fits 512 and 512_interp")
    assert wanted in found.words and found.problems == []
    assert "2609.14 M values, float32" in found.words[0]
    short = {n: shape for n, shape in shapes.items() if n != "betas"}
    assert describe(OfficialState(short, state.get, state.dtypes)).problems == ["missing betas (1000,)"]


MEASURE = """
import sys
from pathlib import Path
def peak():  # of this program alone: what getrusage says starts from what the parent process had
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
from bench.convert import Request, convert
import torch, models.parents, bench.weight_files, bench.metrics.convert
source, out = Path(sys.argv[1]), Path(sys.argv[2])
before = peak()
convert(Request(source, out, dtype="float16"), lambda line: None)
print((peak() - before) / source.stat().st_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux")
def test_converting_holds_a_small_part_of_the_file(tmp_path):
    """A video model of the layout of VideoCrafter, 1.4 G values in 16 bits: no more than a tenth of it at once."""
    with torch.device("meta"):
        unet = DynamiCrafter(text_to_video(presets.dynamicrafter_256())).unet
    shapes = {UNET + entry.name: entry.shape for entry in unet_entries(unet).values()}
    with torch.device("meta"):
        vae = build_modules(presets.dynamicrafter_256()).autoencoder
    shapes |= {f"first_stage_model.{name}": tuple(tensor.shape) for name, tensor in vae.state_dict().items()}
    half = torch.float16
    state = OfficialState(shapes, lambda n: torch.full(shapes[n], 0.01, dtype=half), dict.fromkeys(shapes, half))
    source = tmp_path / "t2v.safetensors"
    save_state(state, source, {})
    command = [sys.executable, "-c", MEASURE, str(source), str(tmp_path / "out.safetensors")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    large = source.stat().st_size
    for path in tmp_path.iterdir():
        path.unlink()
    assert done.returncode == 0, done.stderr
    assert large > 2.5e9
    assert 0 < float(done.stdout) < 0.15
