"""The commands as a user types them, on what has no reference, on several protocols, and on real outputs."""

import json

import pytest

from bench.cli import main
from reports.load import load
from tests.bench.scoring.conftest import PROFILE, SAMPLES, records
from tests.bench.scoring.made import noise, picture, pictures, video


def bench(*words, store=None):
    more = ["--store", str(store)] if store else []
    return main([str(word) for word in words] + more)


def items(root, with_input=2, without=1):
    """Items as systems publish them: input, output, prompt."""
    for k in range(with_input + without):
        video(root / f"item{k}/output.gif", noise(k, 9))
        (root / f"item{k}/prompt.txt").write_text(f"thing {k} <script>alert(1)</script>")
        if k < with_input:
            picture(root / f"item{k}/input.png", noise(k, 1)[0])
    return root


def test_pic_alone_where_there_is_no_reference(page, store, tmp_path, capsys):
    root, out = items(tmp_path / "gifs", 3, 0), tmp_path / "out"
    assert bench("score", root, "--profile", PROFILE, "--out", out, "--quiet", store=store) == 0
    printed = capsys.readouterr().out
    assert "left out: FVD and KVD: no real videos to compare with; give --reference NAME=DIR" in printed
    assert "3 of 3 videos come from lossy files (gif)" in printed
    found = records(out)
    assert found["gifs", "folder", "pic", None].n == 3
    assert not {"fvd", "kvd"} & {metric for _, _, metric, _ in found}
    assert not any(record.comparable for record in found.values())
    text = (out / "report.html").read_text()
    assert "<script>alert(1)" not in text and "thing 0" in text
    assert "left out: FVD and KVD" in text


def test_pic_of_those_that_have_an_input(store, tmp_path, capsys):
    root, out = items(tmp_path / "gifs", 2, 1), tmp_path / "out"
    assert bench("score", root, "--profile", PROFILE, "--out", out, "--quiet", store=store) == 0
    assert "left out: PIC of 1 videos without an input picture: item2" in capsys.readouterr().out
    counts = {metric: record.n for (_, _, metric, _), record in records(out).items()}
    assert counts["pic"] == 2
    assert {n for metric, n in counts.items() if metric != "pic"} <= {3}
    shown = load(out).samples
    assert [("condition" in entry["files"]) for entry in shown] == [True, True, False]


def test_without_inputs_and_reference_little_is_left_and_it_says_so(store, tmp_path, capsys):
    pictures(tmp_path / "v/a", noise(1, 8))
    pictures(tmp_path / "v/b", noise(2, 8))
    out = tmp_path / "out"
    assert bench("score", tmp_path / "v", "--profile", PROFILE, "--out", out, "--quiet", store=store) == 0
    printed = capsys.readouterr().out
    assert "left out: PIC: no input pictures; give --inputs DIR" in printed
    assert not {"fvd", "kvd", "pic"} & {metric for _, _, metric, _ in records(out)}


def test_several_protocols_share_one_pass_and_show_how_far_they_move(store, conditions, tmp_path, capsys):
    from tests.bench.scoring.conftest import system

    videos, out = system(conditions / "ucf101", tmp_path / "shifter"), tmp_path / "out"
    words = ["score", videos, "--inputs", conditions, "--reference", "ucf101=world", "--profile", PROFILE]
    for name in ("tiny/v1", "tats/v1", "lvdm/v1", "stylegan-v/v1"):
        words += ["--protocol", name]
    assert bench(*words, "--no-baselines", "--out", out, "--quiet", store=store) == 0
    by_protocol = {r.protocol: r for r in load(out).records if r.metric == "fvd"}
    assert list(by_protocol) == ["tiny/v1", "tats/v1", "lvdm/v1", "stylegan-v/v1"]
    assert by_protocol["tiny/v1"].value != by_protocol["stylegan-v/v1"].value
    steps = json.loads((out / "plan.json").read_text())["steps"]
    assert sum(step["kind"] == "collect" for step in steps) == 1
    assert sum(step["kind"] == "features" for step in steps) == 6  # of videos and reference: tats and lvdm share theirs
    printed = capsys.readouterr().out
    assert "largest / smallest" in printed and "stands in for i3d-k400" in printed


def test_rescore_export_compare_and_conditions_through_the_command_line(run, store, tmp_path, capsys):
    again = tmp_path / "again"
    words = ["--protocol", "stylegan-v/v1", "--out", again, "--quiet"]
    assert bench("rescore", run, *words, store=store) == 0
    printed = capsys.readouterr().out
    assert "UCF-101, FVD ↓ (tiny-i3d)" in printed and "verdict on" in printed
    assert {r.protocol for r in load(again).records} == {"tiny/v1", "stylegan-v/v1"}
    assert {c.protocol for c in load(again).claims} == {"tiny/v1", "stylegan-v/v1"}
    assert bench("compare", f"{again}:full", f"{again}:slow", "--protocol", "stylegan-v/v1", "--json", store=store) == 0
    lines = json.loads(capsys.readouterr().out)
    assert {line["protocol"] for line in lines} == {"stylegan-v/v1"} and all(line["p"] is not None for line in lines)
    assert bench("export", run, "--out", tmp_path / "export", "--variant", "full", "--quiet", store=store) == 0
    assert capsys.readouterr().out.strip().endswith("manifest.json")
    words = ["conditions", "msrvtt", "--protocol", "tiny/v1", "--profile", PROFILE, "--samples", SAMPLES]
    assert bench(*words, "--out", tmp_path / "c", "--quiet", store=store) == 0
    assert len((tmp_path / "c/msrvtt/ids.txt").read_text().split()) == SAMPLES


def test_names_cannot_write_on_the_terminal_or_the_page(page, store, tmp_path, capsys):
    root = items(tmp_path / "v\x1b[31m", 1, 0)
    (root / "item0").rename(root / "a\x1b[2J\n<b>b")
    video(root / "<img src=x>\x07.gif", noise(3, 3))
    assert bench("score", root, "--profile", PROFILE, "--out", tmp_path / "out", "--quiet", store=store) == 0
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x07"} & set(printed) and "\\x1b[31m" in printed and "<img src=x>\\x07" in printed
    assert "<img src=x>" not in (tmp_path / "out/report.html").read_text()


def test_scores_as_json_are_records(store, tmp_path, capsys):
    root = items(tmp_path / "gifs", 2, 0)
    assert bench("score", root, "--profile", PROFILE, "--out", tmp_path / "o", "--json", "--quiet", store=store) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == [json.loads(line) for line in (tmp_path / "o/records.jsonl").read_text().splitlines()]


def test_a_wrong_command_exits_with_two(store, tmp_path, capsys):
    assert bench("score", tmp_path / "nowhere", store=store) == 2
    assert bench("rescore", tmp_path, "--protocol", "tiny/v1", store=store) == 2
    assert bench("compare", tmp_path, tmp_path, store=store) == 2
    assert bench("conditions", "kinetics", "--protocol", "tiny/v1", "--out", tmp_path, store=store) == 2
    assert bench("export", tmp_path, "--out", tmp_path / "x", store=store) == 2


# ---- real outputs of DynamiCrafter, VideoCrafter and InstructVideo ----


def test_the_showcase_prints_pic_with_protocol_and_interval(real_data, store, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["score", real_data / "showcase", "--name", "showcase", "--profile", PROFILE, "--out", out, "--quiet"]
    assert bench(*words, store=store) == 0
    printed = capsys.readouterr().out
    for words in (
        "8 videos are longer than 8 frames: their first 8 were taken (frames in the file: 16)",
        "8.333 (5), 8 (2), not stated (1)",
        "256x256 (7), 512x320 (1)",
        "8 of 8 videos come from lossy files (gif (6), h264 (2))",
        "left out: PIC of 2 videos without an input picture: instructvideo/0001_16055587_cat-walking",
    ):
        assert words in printed
    found = records(out)["showcase", "folder", "pic", None]
    assert (found.n, found.protocol, found.features) == (6, "tiny/v1", "tiny-perceptual")
    assert found.low < found.value < found.high and 0.5 < found.value < 1


def test_real_ucf101_conditions_make_a_round_trip(real_data, store, tmp_path, capsys):
    from tests.bench.scoring.conftest import system

    data = f"ucf101={real_data / 'ucf101'}"
    words = ["conditions", "ucf101", "--protocol", "tiny/v1", "--profile", PROFILE, "--samples", "4"]
    assert bench(*words, "--data", data, "--original", "--out", tmp_path / "c", "--quiet", store=store) == 0
    videos = system(tmp_path / "c/ucf101", tmp_path / "shifter")
    words = ["score", videos, "--inputs", tmp_path / "c", "--reference", data, "--profile", PROFILE]
    assert bench(*words, "--out", tmp_path / "out", "--no-baselines", "--quiet", store=store) == 0
    found = records(tmp_path / "out")["shifter", "ucf101", "fvd", None]
    assert (found.n, found.world) == (4, "real")
    assert "not there" not in " ".join(found.notes)


BAD = {  # name -> where health.json has it; what is wrong with flipped_1k.mp4 lies behind the frames that are scored
    "truncated_40pct.avi": "damaged",
    "flipped_1k.mp4": None,
    "zero_byte.mp4": "set_aside",
    "one_frame.mp4": "set_aside",
    "text_renamed.avi": "set_aside",
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_videos_are_named_and_never_stop_a_score(real_data, store, tmp_path, capsys, name):
    root = items(tmp_path / "v", 2, 0)
    (root / name).write_bytes((real_data / "bad" / name).read_bytes())
    assert bench("score", root, "--profile", PROFILE, "--out", tmp_path / "out", "--quiet", store=store) == 0
    health = json.loads((tmp_path / "out/health.json").read_text())
    found = {key: [line["id"] for line in health[key]] for key in ("damaged", "set_aside")}
    stem = name.partition(".")[0]
    assert found == {key: [stem] if BAD[name] == key else [] for key in found}


@pytest.mark.slow
def test_a_trained_run_and_its_export_have_the_same_numbers(page, tmp_path, capsys):
    """Every number of a run that trained and sampled, from lossless files, in another store."""
    words = ["run", "ablations/dual_stream.yaml", "--profile", "smoke", "--out", tmp_path / "run", "--quiet"]
    assert bench(*words, store=tmp_path / "store") == 0
    assert bench("export", tmp_path / "run", "--out", tmp_path / "export", "--quiet", store=tmp_path / "store") == 0
    words = ["score", tmp_path / "export", "--reference", "ucf101=world", "--reference", "msrvtt=world", "--quiet"]
    assert bench(*words, "--out", tmp_path / "check", store=tmp_path / "other") == 0
    verdict = json.loads((tmp_path / "check/recheck.json").read_text())
    assert verdict["holds"] and verdict["exact"] == verdict["numbers"] > 100
