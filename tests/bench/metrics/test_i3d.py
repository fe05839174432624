"""I3D: one network behind two public layouts, its padding, what it refuses, and files that are not to be trusted."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.metrics import i3d, state_files
from bench.metrics.i3d import I3D, LAYOUTS, empty_i3d, entries, fill_i3d, key_list, load_i3d, pad_same
from tests.bench.metrics.weight_files import Evil, i3d_state, save_archive

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def net() -> I3D:
    made = empty_i3d()
    assert fill_i3d(made, i3d_state("piergiaj"), "the rule") == "piergiaj"
    return made


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    return torch.rand((1, 3, 9, 224, 224), generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def answer(net, clip) -> torch.Tensor:
    with torch.no_grad():
        return net(clip)


def renamed(state, layout: str) -> dict[str, torch.Tensor]:
    """A state dict of the first layout under the names of another."""
    return {names[LAYOUTS.index(layout)]: state[names[0]] for names, _ in entries().values()}


def test_the_shipped_names_are_those_of_the_network():
    with torch.device("meta"):
        own = {name: tuple(tensor.shape) for name, tensor in I3D().state_dict().items()}
    assert own == {name: shape for name, (_, shape) in entries().items()}
    assert [len(key_list(layout)) for layout in LAYOUTS] == [344, 344]
    assert not key_list("piergiaj").keys() & key_list("hassony2").keys()
    with pytest.raises(ValueError, match="layout is 'tf'; known: piergiaj, hassony2"):
        key_list("tf")


@pytest.mark.parametrize("size", range(1, 17))
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1)])
def test_same_padding_gives_size_over_stride_upwards_and_puts_the_odd_zero_behind(size, kernel, stride):
    x = torch.ones(1, 1, size, size + 1, size + 2)
    padded = pad_same(x, (kernel,) * 3, (stride,) * 3)
    for axis in (2, 3, 4):
        length, other = x.shape[axis], [a for a in (0, 1, 2, 3, 4) if a != axis]
        row = padded.amax(other)
        assert (len(row) - kernel) // stride + 1 == -(-length // stride)
        before = int(row.argmax())
        assert len(row) - before - length - before in (0, 1)


def test_both_layouts_are_one_network(clip, answer):
    other = empty_i3d()
    assert fill_i3d(other, renamed(i3d_state("piergiaj"), "hassony2"), "renamed") == "hassony2"
    with torch.no_grad():
        assert other(clip).equal(answer)


def test_features_logits_and_their_mean(net, clip, answer, monkeypatch):
    longer = torch.cat([clip, clip.flip(2)[:, :, 1:]], 2)  # 17 frames: two time steps
    with torch.no_grad():
        features = net.features(longer)
        monkeypatch.setattr(net, "features", lambda _clips: features)
        logits, mean = net.logits(longer), net(longer)
    assert (features.shape, logits.shape, mean.shape) == ((1, 1024, 2), (1, 400, 2), (1, 400))
    assert logits.mean(2).equal(mean)
    torch.testing.assert_close(net.logits_of(features.mean(2, keepdim=True))[..., 0], mean, atol=1e-5, rtol=1e-5)
    assert answer.shape == (1, 400) and answer.std() > 0.5  # the signal lives to the end


def test_the_eps_of_batch_norm_is_a_choice(clip, answer):
    other = empty_i3d(1e-5)
    fill_i3d(other, i3d_state("piergiaj"), "the rule")
    with torch.no_grad():
        assert 1e-3 < (answer - other(clip)).abs().max() < 0.3


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 16, 256, 256), "frames of 256x256; wanted 224x224"),
        ((1, 3, 16, 223, 225), "frames of 223x225; wanted 224x224"),
        ((1, 3, 8, 224, 224), "clips of 8 frames; wanted 9 or more"),
        ((1, 16, 3, 224, 224), r"clips \(1, 16, 3, 224, 224\)"),
        ((3, 16, 224, 224), r"wanted \(B, 3, T, 224, 224\)"),
    ],
)
def test_other_sizes_are_refused(net, shape, words):
    with pytest.raises(ValueError, match=words):
        net(torch.zeros(shape))
    with pytest.raises(ValueError, match="float"):
        net(torch.zeros((1, 3, 16, 224, 224), dtype=torch.uint8))


# ---- files ----


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_every_format_load(tmp_path, layout, net):
    state = renamed(i3d_state("piergiaj"), layout)
    torch.save(state, tmp_path / "new.pt")
    torch.save(
        {"state_dict": state, "args": Namespace(lr=1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False
    )
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("new.pt", "old.pth", "plain.safetensors"):
        found = load_i3d(tmp_path / name)
        assert not found.training
        assert found.get_submodule("trunk.Mixed_4c.b2b.conv3d").weight.equal(
            net.get_submodule("trunk.Mixed_4c.b2b.conv3d").weight
        )
        (tmp_path / name).unlink()


def test_the_counters_may_be_absent_as_in_old_files_but_not_some_of_them(net):
    state = {name: tensor for name, tensor in i3d_state("piergiaj").items() if not name.endswith(i3d.COUNTER)}
    assert len(state) == 287
    other = empty_i3d()
    fill_i3d(other, state, "an old file")
    assert all(a.equal(b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    some = dict(i3d_state("piergiaj"))
    del some["Mixed_3b.b0.bn.num_batches_tracked"]
    with pytest.raises(ValueError, match=r"1 entries:\n  missing Mixed_3b.b0.bn.num_batches_tracked \(\)"):
        fill_i3d(other, some, "a damaged file")


def test_every_entry_that_does_not_fit_is_listed_and_nothing_is_changed():
    state = dict(i3d_state("hassony2"))
    state["conv3d_0c_1x1.conv3d.bias"] = torch.zeros(600)
    state["mixed_3b.branch_0.batch3d.bias"] = torch.full((64,), float("nan"))
    state["surprise"] = torch.zeros(3)
    del state["mixed_5c.branch_3.1.conv3d.weight"]
    other = empty_i3d()
    with pytest.raises(ValueError) as caught:
        fill_i3d(other, state, "x.pt")
    assert str(caught.value).splitlines() == [
        "weights: x.pt (read as I3D, hassony2 layout) does not fit, 4 entries:",
        "  missing mixed_5c.branch_3.1.conv3d.weight (128, 832, 1, 1, 1)",
        "  not understood surprise (3,)",
        "  conv3d_0c_1x1.conv3d.bias has shape (600,), expected (400,)",
        "  mixed_3b.branch_0.batch3d.bias holds values that are no numbers",
    ]
    assert all(tensor.isnan().all() for tensor in other.parameters())


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path):
    trace = tmp_path / "ran"
    for number, zipped in enumerate((True, False)):
        path = tmp_path / f"{number}.pt"
        torch.save({"state_dict": {}, "x": Evil(trace)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="is never run: save its state dict as safetensors"):
            load_i3d(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.is_dir()  # it would have run


def test_missing_damaged_and_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pt is not a file"):
        load_i3d(tmp_path / "none.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="cannot be read as tensors alone"):
        load_i3d(tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="is not a state dict"):
        load_i3d(tmp_path / "list.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="does not fit, 288 entries"):
        load_i3d(tmp_path / "other.pt")


def test_an_archive_is_only_opened_when_asked_for(tmp_path, monkeypatch):
    path = save_archive(i3d_state("hassony2"), tmp_path / "i3d_torchscript.pt")
    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "load", lambda *_a, **_k: pytest.fail("it was opened"))
        with pytest.raises(ValueError, match=r"python -m bench convert i3d .*i3d_torchscript\.pt --out .* --trust"):
            load_i3d(path)
    state = i3d.read_trusted_archive(path)
    assert state.keys() == i3d_state("hassony2").keys()
    inside = {f"model.{name}": tensor for name, tensor in i3d_state("hassony2").items()}
    assert i3d.read_trusted_archive(save_archive(inside, tmp_path / "inside.pt")).keys() == state.keys()
    with pytest.raises(ValueError, match="does not fit"):
        i3d.read_trusted_archive(save_archive({"weight": torch.zeros(2)}, tmp_path / "other.pt"))
    torch.save({}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="is not a TorchScript archive"):
        state_files.read_archive(tmp_path / "plain.pt")


def test_a_zip_file_with_code_that_is_no_archive_is_said_so(tmp_path):
    import zipfile

    path = Path(tmp_path / "odd.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/code/y.py", "")
    with pytest.raises(ValueError, match="cannot be opened as a TorchScript archive"):
        state_files.read_archive(path)
