"""`verify` on reference values of the measuring networks and metrics: public numbers pass, one wrong value fails."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import verify_inputs, verify_metrics
from bench.verify import verify
from bench.verify_cases import Beside, seeds_in
from bench.verify_inputs import (
    Origin,
    features,
    find_origin,
    find_seed,
    mix,
    noise,
    sha256,
    tri,
    usual_parameters,
    weight,
)
from tests.bench.metrics.worlds import golden_features

OURS = Path(__file__).parents[1] / "golden" / "metrics"


def run(folder: Path, full: bool = True) -> tuple[int, int, list[str]]:
    lines: list[str] = []
    passed, failed = verify(folder, lines.append, full)
    return passed, failed, lines


def copy(tmp_path: Path, *names: str) -> Path:
    """Files of the set under names that say nothing."""
    for number, name in enumerate(names):
        shutil.copy(OURS / name, tmp_path / f"{number}{Path(name).suffix}")
    return tmp_path


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def few_seeds(monkeypatch):
    """What is not among the likely seeds is not looked for long."""
    monkeypatch.setattr(verify_inputs, "TRIED", 5000)
    monkeypatch.setattr(verify_inputs, "SLOWLY", 50)


def failures(lines: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in lines if line.startswith("FAIL")]


# ---- whole files, under other names ----


def test_statistics_keys_and_rule_pass(tmp_path):
    names = ("frechet.json", "kvd.json", "weight_rule.tsv", "i3d_map.tsv", "i3d_hassony2.tsv", "i3d_piergiaj.tsv")
    passed, failed, lines = run(copy(tmp_path, *names))
    assert failed == 0, failures(lines)
    assert passed == 180 + 203 + 24 + 3
    assert {line.split()[1] for line in lines if line.startswith("ok")} == {"frechet", "kvd", "rule", "keys"}
    left = [line for line in lines if line.startswith("not checked")]
    assert len(left) == 1 and "torchmetrics_poly_mmd_float32" in left[0] and "the public code gives none" in left[0]


def hint(tmp_path: Path) -> None:
    """A text that names a seed near those of the set: they are found at once."""
    (tmp_path / "notes.txt").write_text("seeds from 31010 on")


def test_lpips_passes_and_one_wrong_value_fails(tmp_path):
    hint(tmp_path)
    passed, failed, lines = run(copy(tmp_path, "lpips.json"))
    assert (passed, failed) == (64, 0), failures(lines)

    def spoil(content):
        content["values"]["squeeze/v0.1/tri48x72"]["lpips_f32"] += 3e-6
        content["values"]["alex/v0.0/noise40"]["per_layer_f32"][1] += 3e-6
        content["inputs_sha256"]["identical40"][1] = "0" * 64
        content["values"] = {k: v for k, v in content["values"].items() if not k.startswith("vgg")}

    change_json(tmp_path / "0.json", spoil)
    assert sorted(failures(run(tmp_path)[2])) == [
        "FAIL lpips 0.json alex/v0.0/identical40",
        "FAIL lpips 0.json alex/v0.0/noise40 per_layer_f32",
        "FAIL lpips 0.json alex/v0.1/identical40",
        "FAIL lpips 0.json inputs_sha256 identical40",
        "FAIL lpips 0.json squeeze/v0.0/identical40",
        "FAIL lpips 0.json squeeze/v0.1/identical40",
        "FAIL lpips 0.json squeeze/v0.1/tri48x72 lpips_f32",
    ]


def test_dreamsim_passes_and_one_wrong_value_fails(tmp_path):
    path = copy(tmp_path, "dreamsim.json") / "0.json"
    hint(tmp_path)

    def shorten(content):
        content["base"] = {"tri_vs_mix": content["base"]["tri_vs_mix"]}
        del content["inputs_sha256"]["noise64"], content["inputs_sha256"]["tri"]

    change_json(path, shorten)
    passed, failed, lines = run(tmp_path)
    assert (passed, failed) == (13, 0), failures(lines)

    def spoil(content):
        content["base"]["tri_vs_mix"]["D_lora_via_dreamsim()"] += 5e-6
        content["base"]["tri_vs_mix"]["embed_first8"][7] += 5e-6
        content["resize_case"]["max"] += 1e-3
        content["surprise"] = 1

    change_json(path, spoil)
    lines = run(tmp_path)[2]
    assert failures(lines) == [
        "FAIL dreamsim 0.json tri_vs_mix embed_first8",
        "FAIL dreamsim 0.json tri_vs_mix D_lora_via_dreamsim()",
        "FAIL dreamsim 0.json resize_case max",
    ]
    assert any(line.startswith("not checked: 0.json surprise") for line in lines)


def keep(path: Path, *parts: str) -> dict[str, np.ndarray]:
    """Keeps those arrays of a file whose name has one of `parts`; returns them."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if any(part in name for part in parts)}
    np.savez(path, **arrays)
    return arrays


def test_preprocessing_passes_and_one_wrong_value_fails(tmp_path):
    path = copy(tmp_path, "i3d.npz", "i3d_inputs.json") / "0.npz"
    hint(tmp_path)
    arrays = keep(path, "pre/")
    passed, failed, lines = run(tmp_path)
    assert (passed, failed) == (len(arrays) + 24, 0), failures(lines)
    wrong = "pre/Q_tri_100x144/direct_trilinear_5d/clip0_t3_every16"
    arrays[wrong][0, 3, 3] += 1e-3
    arrays["pre/Q_tri_100x144/from_the_future/samples128"] = np.zeros(3)
    np.savez(path, **arrays)
    change_json(tmp_path / "1.json", lambda entries: entries[0].update(sha256="0" * 64))
    lines = run(tmp_path)[2]
    assert f"FAIL i3d 0.npz {wrong}" in failures(lines)
    assert "FAIL i3d 1.json P_noise_80x48 sha256" in failures(lines)  # and all that rests on that video
    assert all(name == f"FAIL i3d 0.npz {wrong}" or "P_noise_80x48" in name for name in failures(lines))
    assert any("Q_tri_100x144/from_the_future (no pipeline of that name)" in line for line in lines)


def test_the_network_passes_and_one_wrong_value_fails(tmp_path):
    path = copy(tmp_path, "i3d.npz", "i3d_inputs.json") / "0.npz"
    hint(tmp_path)
    arrays = keep(path, "i3d/R_mix_270x480/shortside_crop_float/gain/hassony2")
    _, failed, lines = run(tmp_path)
    assert failed == 0, failures(lines)
    assert sum("hassony2" in line for line in lines) == len(arrays) == 2
    arrays["i3d/R_mix_270x480/shortside_crop_float/gain/hassony2/logits"][0, 17] += 5e-5
    np.savez(path, **arrays)
    assert failures(run(tmp_path)[2]) == ["FAIL i3d 0.npz i3d/R_mix_270x480/shortside_crop_float/gain/hassony2/logits"]


@pytest.mark.slow
def test_the_whole_set_passes():
    passed, failed, lines = run(OURS)
    assert failed == 0, failures(lines)
    assert passed > 640


@pytest.mark.slow
def test_numbers_of_public_code(golden):
    passed, failed, lines = run(golden / "metrics")
    assert failed == 0, failures(lines)
    assert passed > 1000


# ---- what is wrong is found, what is missing is no failure ----


def test_wrong_statistics_fail_their_own_case(tmp_path):
    copy(tmp_path, "frechet.json", "kvd.json")

    def spoil(content):
        content["cases"]["full"]["reference_nuclear_norm_ddof1"]["fd"] *= 1 + 1e-7
        content["cases"]["full"]["styleganv"] *= 1 + 1e-7
        content["cases"]["low_rank"]["pytorch_fid"] += 0.02
        content["cases"]["constant"]["real_first3"][0] += 1e-3
        content["cases"]["unequal"]["tats_lvdm_float32"] += 10
        content["cases"]["equal"]["reference_nuclear_norm_ddof0"]["trace_sqrt"] += 1e-4
        content["cases"]["small"]["a_new_way"] = 3.0
        del content["cases"]["decades"]["styleganv"], content["cases"]["offset"]["params_fake"]

    def spoil_kernel(content):
        content["cases"]["full"]["full_float64_gamma_1_over_d"]["biased"] *= 1 + 1e-5
        content["cases"]["equal"]["tfgan_block_rule_float64_block64"]["n_blocks"] = 2
        content["cases"]["small"]["torchmetrics_poly_mmd_float64"] += 1e-6
        del content["cases"]["offset"]

    change_json(tmp_path / "0.json", spoil)
    change_json(tmp_path / "1.json", spoil_kernel)
    lines = run(tmp_path)[2]
    assert sorted(failures(lines)) == [
        "FAIL frechet 0.json constant real_first3",
        "FAIL frechet 0.json equal reference_nuclear_norm_ddof0.trace_sqrt",
        "FAIL frechet 0.json full reference_nuclear_norm_ddof1.fd",
        "FAIL frechet 0.json full styleganv",
        "FAIL frechet 0.json low_rank pytorch_fid",
        "FAIL frechet 0.json unequal tats_lvdm_float32",
        "FAIL kvd 1.json equal tfgan_block_rule_float64_block64 n_blocks",
        "FAIL kvd 1.json full full_float64_gamma_1_over_d biased",
        "FAIL kvd 1.json small torchmetrics_poly_mmd_float64",
    ]
    assert any("0.json small a_new_way (no value of that name is understood)" in line for line in lines)
    assert any("0.json offset (its features are not described)" in line for line in lines)


def test_kernel_values_without_a_description_of_their_features_fail(tmp_path):
    path = copy(tmp_path, "kvd.json") / "0.json"
    change_json(path, lambda content: content.update(cases={"full": content["cases"]["full"]}))
    assert failures(run(tmp_path)[2]) == ["FAIL kvd 0.json full"]


def test_nan_is_never_within_a_bound(tmp_path):
    path = copy(tmp_path, "frechet.json") / "0.json"

    def spoil(content):
        content["cases"] = {"full": content["cases"]["full"]}
        content["cases"]["full"]["styleganv"] = float("nan")

    change_json(path, spoil)
    assert failures(run(tmp_path)[2]) == ["FAIL frechet 0.json full styleganv"]


def test_wrong_names_and_wrong_anchors_fail(tmp_path):
    copy(tmp_path, "weight_rule.tsv", "i3d_map.tsv", "i3d_hassony2.tsv")
    rule, pairs, keys = (tmp_path / name for name in ("0.tsv", "1.tsv", "2.tsv"))
    rows = rule.read_text().splitlines()
    rule.write_text("\n".join([rows[0], rows[1].rpartition("\t")[0] + "\t7.5", *rows[2:], "x\ty\t1.0\t1.0"]) + "\n")
    pairs.write_text(pairs.read_text().replace("mixed_4c.branch_0.conv3d", "mixed_4d.branch_0.conv3d"))
    keys.write_text(keys.read_text().replace("64x3x7x7x7", "64x3x7x7x5"))
    lines = run(tmp_path)[2]
    assert sorted(name.split()[2] for name in failures(lines)) == ["0.tsv", "1.tsv", "2.tsv"]
    assert any("0.tsv x y (no network here has such an entry)" in line for line in lines)


def test_pickled_arrays_and_other_files_are_no_golden_files(tmp_path):
    np.savez(tmp_path / "a.npz", **{"pre/x/direct_bilinear/samples3": np.array([{"a": 1}], dtype=object)})
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    (tmp_path / "c.npz").write_bytes(b"PK and no more")
    (tmp_path / "d.json").write_text('[{"video": 1}, 2]')
    (tmp_path / "e.json").write_text('{"cases": {"x": 1}, "base": 3, "values": []}')
    (tmp_path / "f.tsv").write_text("name\tshape\nx\t1\n")
    (tmp_path / "g.tsv").write_text("")
    passed, failed, lines = run(tmp_path)
    assert passed == 0 and failed == 1
    assert failures(lines) == ["FAIL i3d a.npz"]  # named as one, and never unpickled
    assert sum("(not a golden file)" in line for line in lines) == 6


def test_large_files_are_left_out_when_asked(tmp_path):
    names = [f"i3d/v/direct_bilinear/gain/piergiaj_eps{n}/logits" for n in range(20)]
    np.savez(tmp_path / "a.npz", **{name: np.zeros(1) for name in names})
    assert run(tmp_path, full=False)[2] == ["not checked: a.npz (full-size network)"]


# ---- rules ----


def test_inputs_are_found_by_what_a_file_says_of_them():
    shape = (1, 2, 9, 12)
    for origin in (Origin("noise", 4321), Origin("tri", first=5), Origin("mix", 99, 3)):
        video = origin.make(shape)
        assert find_origin(shape, sha256(video), video.reshape(-1)[:8].tolist()) == origin
    far = Origin("noise", 7_000_000)
    assert find_origin(shape, sha256(far.make(shape)), likely=[7_000_000]) == far
    assert find_origin(shape, sha256(far.make(shape)), far.make(shape).reshape(-1)[:8].tolist(), range(3)) is None
    assert find_origin(shape, "0" * 64) is None
    assert find_seed(lambda seed: seed == 7, (3, 4)) == 7 and find_seed(lambda _seed: False, tried=5) is None


def test_seeds_are_looked_for_in_the_folder(tmp_path):
    (tmp_path / "notes.md").write_text("noise(6001) against noise(6002), at 0.3 of 1005; mix(6003, s0=0)")
    (tmp_path / "x.json").write_text(json.dumps({"a": {"seed": 20001, "wseed": 777}, "kid_rngseed2020": 1.5}))
    beside = verify_metrics.look_beside(tmp_path)
    assert beside.known == (777, 2020, 20001)
    assert set(beside.known) | {6001, 6002, 6003, 1005, 20003, 0} <= set(beside.seeds)
    assert beside.seeds_of("mix") == (6003,) and beside.seeds_of("noise") == (6001, 6002)
    assert seeds_in([{"b_seed": 5}, 3, {"c": "seed9"}]) == {5}
    assert Beside().seeds == ()


def test_waves_noise_and_their_mean_by_hand():
    wave = tri((2, 2, 3, 4), 1)
    s, t, y, x, c = 2, 1, 2, 3, 1
    assert wave[1, t, y, x, c] == abs(((3 + c + s) * x + (5 - c) * y + (11 + 7 * s) * t + 37 * c + 101 * s) % 510 - 255)
    drawn = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (1, 2, 3, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(noise(5, (1, 2, 3, 4)), drawn)
    np.testing.assert_array_equal(mix(5, (1, 2, 3, 4), 1), (tri((1, 2, 3, 4), 1).astype(int) + drawn) // 2)


def test_features_are_those_of_the_other_tests():
    real, fake = usual_parameters("corr_N64")
    np.testing.assert_array_equal(features(real), golden_features(**real))
    np.testing.assert_array_equal(features(fake), golden_features(**fake))
    assert usual_parameters("iid_D8_N1000")[1] == real | {
        "seed": 20002, "N": 1000, "D": 8, "fac": 0.0, "K": 1, "shift": 0.3
    }  # fmt: skip
    assert usual_parameters("corr_N9_vs_4")[1]["N"] == 4 and usual_parameters("other_N9") is None
    with pytest.raises(ValueError, match="unknown parameters depth"):
        features(real | {"depth": 3})


def test_weights_by_hand():
    x = np.random.Generator(np.random.PCG64(0x3610A686)).standard_normal(3, dtype=np.float32)  # crc32 of "hello"
    np.testing.assert_array_equal(weight("hello", (3,)), np.float32(0.1) * x)
    assert weight("a.num_batches_tracked", ()).dtype.is_floating_point is False
    assert (weight("a.running_var", (50,)) >= 1).all() and abs(weight("a.weight", (50,)).mean() - 1) < 0.1
    assert weight("a.weight", (400, 30)).std().item() == pytest.approx(30**-0.5, rel=0.05)
