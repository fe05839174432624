"""Measuring networks are recognised by their tensors and written as one safetensors file; archives only on trust."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.errors import UsageError
from bench.metrics.convert import convert_measuring, describe_measuring
from bench.metrics.i3d import load_i3d
from bench.metrics.lpips import load_lpips
from bench.verify_inputs import shapes_of
from bench.verify_pic import filled_lpips
from models.weights import read_card
from tests.bench.metrics.weight_files import Evil, i3d_state, save_archive

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


@dataclass(frozen=True)
class Asked:
    source: Path
    out: Path
    kind: str = ""
    trust: bool = False


def trunk_file(path: Path) -> Path:
    """torchvision's file of a SqueezeNet, by rule."""
    features = filled_lpips("squeeze", "0.1").features
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(1)}, path)
    return path


def test_a_trusted_archive_becomes_a_file_that_loads(tmp_path):
    source, said = save_archive(i3d_state("piergiaj"), tmp_path / "i3d_torchscript.pt"), []
    asked = Asked(source, tmp_path / "i3d.safetensors")
    with pytest.raises(UsageError, match=r"a program that opening would run.*--trust"):
        convert_measuring(asked, said.append)
    with pytest.raises(ValueError, match="--trust"):
        describe_measuring(source)
    assert not asked.out.exists() and not said
    assert convert_measuring(Asked(source, asked.out, "i3d", trust=True), said.append)
    assert "ran its code" in said[0] and "I3D, piergiaj layout, 344 entries" in said[1]
    assert load_i3d(asked.out).classes.weight.equal(i3d_state("piergiaj")["logits.conv3d.weight"])
    card = read_card(asked.out)
    assert card["source"] == "i3d_torchscript.pt" and len(card["source_sha256"]) == 64
    assert describe_measuring(asked.out) == ["I3D, piergiaj layout, 344 entries, every one fits"]


def test_a_trunk_loses_its_classifier(tmp_path):
    asked = Asked(trunk_file(tmp_path / "squeezenet1_1-b8a52dc0.pth"), tmp_path / "trunk.safetensors")
    assert convert_measuring(asked, lambda _line: None)
    wanted = shapes_of(filled_lpips("squeeze", "0.1").features)
    assert load_file(asked.out).keys() == {f"features.{name}" for name in wanted}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 40, 40, 3), dtype=np.uint8)
    both = [load_lpips(path, "squeeze").distance(*pixels) for path in (asked.source, asked.out)]
    np.testing.assert_array_equal(both[0], both[1])


def test_what_is_asked_wrongly_is_refused(tmp_path):
    source = trunk_file(tmp_path / "trunk.pth")
    with pytest.raises(UsageError, match="LPIPS trunk squeeze"):
        convert_measuring(Asked(source, tmp_path / "x.safetensors", "i3d"), print)
    with pytest.raises(UsageError, match=r"wanted a name that ends in \.safetensors"):
        convert_measuring(Asked(source, tmp_path / "x.pt"), print)
    assert [path.name for path in tmp_path.iterdir()] == ["trunk.pth"]


def test_damaged_and_hostile_files_are_refused_and_others_left_alone(tmp_path):
    save_file({"logits.conv3d.bias": torch.zeros(400)}, tmp_path / "part.safetensors")
    with pytest.raises(UsageError, match="does not fit, 286 entries"):
        convert_measuring(Asked(tmp_path / "part.safetensors", tmp_path / "x.safetensors"), print)
    torch.save({"logits.conv3d.bias": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="is never run"):
        convert_measuring(Asked(tmp_path / "evil.pt", tmp_path / "x.safetensors", trust=True), print)
    assert not (tmp_path / "ran").exists()
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert not convert_measuring(Asked(tmp_path / "other.safetensors", tmp_path / "x.safetensors"), print)
    assert not convert_measuring(Asked(tmp_path / "evil.pt", tmp_path / "x.safetensors", "dynamicrafter"), print)
    assert not convert_measuring(Asked(tmp_path, tmp_path / "x.safetensors"), print)
    assert describe_measuring(tmp_path / "other.safetensors") is None
    (tmp_path / "ensemble_lora").mkdir()
    with pytest.raises(UsageError, match="is not a whole checkpoint folder"):
        convert_measuring(Asked(tmp_path, tmp_path / "x.safetensors", "dreamsim"), print)
    assert not (tmp_path / "x.safetensors").exists()
