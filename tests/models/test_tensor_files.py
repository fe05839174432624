"""Files from outside: their tensors and nothing else, whatever else is in them, and in little memory."""

import argparse
import collections
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import tensor_files
from models.tensor_files import LazyState, OfficialState, official_state, open_official, save_state

NAME = "model.diffusion_model.fps_embedding.0.weight"
OLD = NAME.replace("fps_embedding", "framestride_embed")
WANTED = {NAME: torch.arange(6.0).reshape(2, 3), "betas": torch.linspace(0, 1, 5), "scalar": torch.tensor(2.5)}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in WANTED.items()}


def lightning() -> types.ModuleType:
    """A module that would be missed if anything of it were imported, and whose objects a file may hold."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    return module


def what_trainers_save(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Beside weights: callbacks by their class, settings, numpy numbers, counters."""
    module = lightning()
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    callback = module.ModelCheckpoint
    return {
        "callbacks": {callback: {"best": np.float64(0.5)}},
        "loop": callback(),
        "hyper_parameters": argparse.Namespace(lr=1e-5, path=Path("x")),
        "counts": collections.defaultdict(int, {"a": 1}),
        "param_shapes": [collections.OrderedDict(a=torch.Size([1, 2]))],
    }


FORMS = {
    "plain.ckpt": WANTED,
    "lightning.ckpt": {"state_dict": WANTED, "epoch": 3, "pytorch-lightning_version": "1.9.3"},
    "deepspeed.pt": {"module": prefixed("_forward_module."), "ds_version": "0.9", "optimizer": None},
    "wrapped.pt": {"module": prefixed("module.")},
    "unwrapped.pt": {"module": WANTED, "dp_world_size": 8},
    "sixteen.pt": {"module": prefixed("some_other_name.")},
    "both.pt": {"state_dict": WANTED, "module": prefixed("_forward_module.")},
    "old_names.ckpt": {"state_dict": {name.replace(NAME, OLD): tensor for name, tensor in WANTED.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_tensors(form, tmp_path):
    torch.save(FORMS[form], tmp_path / form)
    state = open_official(tmp_path / form)
    assert state.shapes == {name: tuple(tensor.shape) for name, tensor in WANTED.items()}
    assert set(state.dtypes.values()) == {torch.float32}
    assert all(torch.equal(state.get(name), tensor) for name, tensor in WANTED.items())


def test_files_of_torch_before_1_6(tmp_path):
    torch.save({"state_dict": WANTED}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    state = open_official(tmp_path / "old.ckpt")
    assert torch.equal(state.get(NAME), WANTED[NAME])


def test_what_trainers_leave_beside_the_weights_becomes_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        torch.save({"state_dict": WANTED, **what_trainers_save(patch)}, tmp_path / "run.ckpt")
    assert "pytorch_lightning" not in sys.modules
    state = open_official(tmp_path / "run.ckpt")
    assert torch.equal(state.get(NAME), WANTED[NAME])
    assert "pytorch_lightning" not in sys.modules


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return (self.function, self.arguments)


BOMBS = {  # what a file asks for: a call that leaves a trace
    "posix.mkdir": os.mkdir,
    "builtins.exec": exec,
    "builtins.eval": eval,
    "posix.system": os.system,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("where", ["tensor", "beside", "list"])
def test_a_file_that_would_run_something_is_refused_and_does_not(name, where, tmp_path):
    trace = tmp_path / "ran"
    argument = str(trace) if name == "posix.mkdir" else f"__import__('os').mkdir({str(trace)!r})"
    call = Call(BOMBS[name], f"mkdir {trace}" if name == "posix.system" else argument)
    content = {
        "tensor": {"state_dict": {**WANTED, "x": call}},
        "beside": {"state_dict": WANTED, "callbacks": call},
        "list": {"state_dict": [call, WANTED]},
    }[where]
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=rf"bad\.ckpt cannot be read as tensors alone .*{name}"):
        open_official(tmp_path / "bad.ckpt")
    assert not trace.exists()
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=r"plain\.ckpt cannot be read as tensors alone"):
        open_official(tmp_path / "plain.ckpt")
    assert not trace.exists()


def test_nothing_in_the_list_of_known_packages_can_be_called_into(tmp_path):
    trace = tmp_path / "ran"
    call = Call(tensor_files.Path.mkdir, trace)  # pathlib.Path is on the list: its method must not run either
    torch.save({"state_dict": WANTED, "x": call}, tmp_path / "path.ckpt")
    try:
        open_official(tmp_path / "path.ckpt")
    except ValueError as error:
        assert "cannot be read as tensors alone" in str(error)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"a": 1}}, {}, {"module": {}}, torch.zeros(2)])
def test_what_is_no_state_dict_is_named(content, tmp_path):
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(ValueError, match=r"odd\.ckpt is not a state dict, nor has one under 'state_dict' or 'module'"):
        open_official(tmp_path / "odd.ckpt")


@pytest.mark.parametrize("form", ["a.safetensors", "a.ckpt"])
def test_a_file_is_mapped_anew_and_must_not_change_meanwhile(form, tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "GROUP", 8)
    path = tmp_path / form
    if form.endswith("ckpt"):
        torch.save(WANTED, path)
    else:
        save_file(WANTED, path)
    state = open_official(path)
    assert all(torch.equal(state.get(name), tensor) for name, tensor in list(WANTED.items()) * 3)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes() + b" ")
    other.replace(path)
    with pytest.raises(ValueError, match="was changed while it was being read"):
        for name in WANTED:
            state.get(name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_states_are_written_as_the_library_reads_them(dtype, tmp_path):
    wanted = {name: (tensor * 10).to(dtype) for name, tensor in WANTED.items()} | {"none": torch.zeros(0, 3)}
    wanted["bytes"] = torch.arange(5, dtype=torch.uint8)
    save_state(official_state(wanted), tmp_path / "deep" / "a.safetensors", {"what": 'words "quoted", é'})
    found = load_file(tmp_path / "deep" / "a.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted)
    again = open_official(tmp_path / "deep" / "a.safetensors")
    assert again.dtypes == {name: tensor.dtype for name, tensor in wanted.items()}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_a_state_that_breaks_off_leaves_no_file(tmp_path):
    state = official_state(WANTED)
    lying = OfficialState(state.shapes, lambda name: torch.zeros(7), state.dtypes)
    with pytest.raises(ValueError, match="not as announced"):
        save_state(lying, tmp_path / "a.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_parts_types_and_lazy_states():
    state = official_state(WANTED)
    part = state.part("model.diffusion_model.")
    assert list(part.shapes) == ["fps_embedding.0.weight"]
    assert torch.equal(part.get("fps_embedding.0.weight"), WANTED[NAME])
    half = state.cast(torch.float16, keep=["betas"])
    assert half.get("betas").dtype == torch.float32
    assert half.get(NAME).dtype == half.dtypes[NAME] == torch.float16
    lazy = LazyState(state, {NAME: (6,)})
    assert lazy[NAME].shape == (6,)
    assert dict(lazy).keys() == WANTED.keys() and len(lazy) == 3 and "nothing" not in lazy
    assert list(state.without(["betas"]).shapes) == [NAME, "scalar"]


@pytest.mark.parametrize("name", ["junk.ckpt", "junk.pt", "junk.safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"abseiling\nair drumming\n", b"]", b".", b"(dp0\n", bytes(range(256)) * 4, b"PK\x03\x04" + b"0" * 64],
)
def test_bytes_that_are_no_tensors_are_refused_in_one_line_without_advice_to_trust_them(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="junk") as caught:
        open_official(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
