"""`verify`: passes on our numbers, fails on a wrong one, and says what it does not check."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench import verify_diffusion
from bench.verify import verify
from models.checkpoint import KEYS

OURS = Path(__file__).parents[1] / "golden"


def run(directory: Path, full: bool = True) -> tuple[int, int, list[str]]:
    lines: list[str] = []
    passed, failed = verify(directory, lines.append, full)
    return passed, failed, lines


def copy(tmp_path: Path, *names: str) -> Path:
    for name in names:
        shutil.copy(OURS / name, tmp_path / name)
    return tmp_path


def rewrite(path: Path, change) -> None:
    """Stores a file again after `change(tensors)`, with its metadata."""
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def test_our_reference_numbers_all_pass_and_every_kind_is_among_them(tmp_path):
    copy(tmp_path, *(path.name for path in OURS.iterdir() if path.is_file()))
    passed, failed, lines = run(tmp_path)
    assert failed == 0, [line for line in lines if line.startswith("FAIL")]
    assert passed == 245
    cases = [line for line in lines if line.startswith("ok")]
    assert {line.split()[1] for line in cases} == {*"abcdefghij", "rule"}
    assert "not checked: README.md (not a golden file)" in lines
    assert all("max abs" in line and "rel L2" in line and "bound" in line for line in cases)


WRONG = {  # file: (tensor with one wrong value, the case that must fail)
    "a_unet_stages": ("stage_stats", "stage_stats.time_embed"),
    "b_unet_variants": ("out_noica_fs", "noica_fs"),
    "c_projector": ("small.out", "small"),
    "d_autoencoder": ("wide.dec", "wide.dec"),
    "e_preprocess": ("out_33x20", "out_33x20"),
    "f_schedule_512": ("ddim.uniform_trailing.7.sigmas_eta1",) * 2,
    "g_sampling": ("v_single_eta1_7.samples",) * 2,
    "h_training_loss": ("eps.grad_norms",) * 2,
    "i_openclip": ("small.text",) * 2,
    "j_pipeline": ("loop512.latent",) * 2,
}


def test_one_wrong_value_fails_its_case_and_no_other(tmp_path):
    def spoil(tensors, key):
        tensors[key].view(-1)[0] += 1

    expected = set()
    for stem, (key, case) in WRONG.items():
        path = copy(tmp_path, f"{stem}.safetensors") / f"{stem}.safetensors"
        rewrite(path, lambda tensors, key=key: spoil(tensors, key))
        expected.add(f"FAIL {stem[0]} {stem}.safetensors {case}")
    _, failed, lines = run(tmp_path)
    assert {line.partition(":")[0] for line in lines if line.startswith("FAIL")} == expected
    assert failed == len(expected) == 10


def test_files_are_recognised_by_what_is_in_them(tmp_path):
    for number, name in enumerate(("c_projector", "d_autoencoder", "e_preprocess")):
        shutil.copy(OURS / f"{name}.safetensors", tmp_path / f"{number}.safetensors")
    (tmp_path / "deeper").mkdir()
    shutil.copy(OURS / "f_timesteps.json", tmp_path / "deeper" / "x.json")
    passed, failed, lines = run(tmp_path)
    assert (passed, failed) == (2 + 8 + 4 + 14, 0)
    assert any(line.startswith("ok   f deeper/x.json uniform.15") for line in lines)


def test_bytes_may_differ_by_one_level_in_few_values_only():
    want = torch.full((10_000,), 100, dtype=torch.uint8)
    one, two = want.clone(), want.clone()
    one[0], two[0] = 101, 102
    assert verify_diffusion.compare_bytes("x", one, want).ok
    assert not verify_diffusion.compare_bytes("x", two, want).ok
    assert not verify_diffusion.compare_bytes("x", want + 1, want).ok


def test_nan_missing_tensors_and_broken_files_are_failures_or_named(tmp_path):
    copy(tmp_path, "d_autoencoder.safetensors", "e_preprocess.safetensors", "c_projector.safetensors")
    rewrite(tmp_path / "d_autoencoder.safetensors", lambda t: t["square.mean"].fill_(float("nan")))
    rewrite(tmp_path / "e_preprocess.safetensors", lambda t: t.pop("in_u8_33x20"))
    data = (tmp_path / "c_projector.safetensors").read_bytes()
    (tmp_path / "c_projector.safetensors").write_bytes(data[: len(data) // 2])
    _, failed, lines = run(tmp_path)
    assert failed == 2
    assert any(line.startswith("FAIL d d_autoencoder.safetensors square.mean") for line in lines)
    assert any(line.startswith("FAIL e e_preprocess.safetensors: KeyError: 'in_u8_33x20'") for line in lines)
    assert any("not checked: c_projector.safetensors (not a readable safetensors file" in line for line in lines)


def test_nothing_recognised_is_no_success(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "notes.json").write_text(json.dumps({"a": 1}))
    passed, failed, lines = run(tmp_path)
    assert (passed, failed) == (0, 0)
    assert lines == [
        "not checked: notes.json (not a golden file)",
        "not checked: other.safetensors (no kind of golden file has these tensors)",
    ]
    with pytest.raises(ValueError, match="is not a directory"):
        run(tmp_path / "missing")


def test_what_is_left_out_of_a_recognised_file_is_said(tmp_path):
    copy(tmp_path, "i_openclip.safetensors")
    tables = json.loads((OURS / "f_timesteps.json").read_text()) | {"cosine.7": [1, 23, 89]}
    (tmp_path / "f.json").write_text(json.dumps(tables))
    _, failed, lines = run(tmp_path)
    assert failed == 0
    assert "not checked: f.json cosine.7 (no table of timesteps in a spacing that is known)" in lines
    assert "not checked: i_openclip.safetensors small.image (no file of kind e holds its picture)" in lines


def test_key_lists_of_released_checkpoints(tmp_path):
    rows = gzip.decompress((KEYS / "256.tsv.gz").read_bytes()).decode().splitlines()
    (tmp_path / "whole.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "lacking.tsv").write_text("\n".join(rows[:500] + rows[501:]) + "\n")
    (tmp_path / "other.tsv").write_text("name\tshape\nx\t1\n")
    passed, failed, lines = run(tmp_path)
    assert (passed, failed) == (1, 1)
    assert "ok   keys whole.tsv 2535 entries" in lines[2]
    assert lines[0].startswith("FAIL keys lacking.tsv 2534 entries, the first: missing ")
    assert lines[1] == "not checked: other.tsv (not a golden file)"


@pytest.mark.slow
def test_numbers_of_the_official_code(golden):
    passed, failed, lines = run(golden / "dynamicrafter", full=False)
    assert failed == 0, [line for line in lines if line.startswith("FAIL")]
    assert passed >= 350
