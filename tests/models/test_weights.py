"""Weights on disk: they come back as they were, with their card, and what does not fit is listed."""

import hashlib

import pytest
import torch
from torch import nn

from models.weights import load_module, load_state, load_tensors, read_card, save_module, sha256


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def test_a_module_comes_back_with_its_card_and_the_same_bytes_give_the_same_hash(tmp_path):
    one, other, path = (
        module(),
        nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)),
        tmp_path / "deep" / "m.safetensors",
    )
    digest = save_module(one, path, {"made": "by hand"})
    load_module(other, path)
    assert all(a.equal(b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert read_card(path) == {"made": "by hand"}
    assert digest == sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert save_module(one, tmp_path / "again.safetensors", {"made": "by hand"}) == digest
    assert [p.name for p in path.parent.iterdir()] == ["m.safetensors"]  # no temporary file is left


def test_the_order_of_the_card_does_not_change_the_bytes(tmp_path):
    card = {name: 'words "quoted", é, \n and\ttabs' for name in "hgfedcba"}
    orders = [card, dict(sorted(card.items())), *[card] * 8]
    digests = {save_module(module(), tmp_path / f"{n}.safetensors", c) for n, c in enumerate(orders)}
    assert len(digests) == 1
    assert read_card(tmp_path / "0.safetensors") == card
    assert load_tensors(tmp_path / "0.safetensors")["0.weight"].equal(module().state_dict()["0.weight"])


def test_every_key_that_does_not_fit_is_listed():
    state = module().state_dict()
    state["0.weight"] = torch.zeros(2, 4)
    state["surprise"] = torch.zeros(5)
    del state["1.bias"]
    with pytest.raises(ValueError) as caught:
        load_state(module(), state, "m.safetensors")
    lines = str(caught.value).splitlines()
    assert lines[0] == "weights: m.safetensors does not fit Sequential:"
    assert [line.strip() for line in lines[1:]] == [
        "missing 1.bias (2,)",
        "not understood surprise (5,)",
        "0.weight has shape (2, 4), the module needs (2, 3)",
    ]


def test_a_file_that_is_missing_or_no_safetensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        load_tensors(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_tensors(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_card(tmp_path / "bad.safetensors")
