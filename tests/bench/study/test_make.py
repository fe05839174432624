"""The page is blind, complete and alone; the key is the only way back."""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import av
import pytest

from bench.errors import UsageError
from bench.study import choose
from bench.study.answers import read_key
from bench.study.design import CRITERIA, name_of, token
from bench.study.make import make
from tests.fixtures.run_folder import HOSTILE, LABELS, FakeRun, write_run
from tests.fixtures.run_media import write_video

ROOT = Path(__file__).parents[3]


def page_data(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


def test_every_question_is_asked_of_every_input_and_system(made):
    key = read_key(made.key)
    asked = [s for s in key.screens if s.right is None]
    by_kind = {c.name: [s for s in asked if s.criterion == c.name] for c in CRITERIA}
    assert [len(by_kind[name]) for name in ("motion_quality", "temporal_coherence")] == [4, 4]
    judged = {(s.item, s.options[0].system) for s in by_kind["input_conformity"]}
    assert judged == {(item, system) for item in range(4) for system in range(3)} and len(asked) == 8 + 12
    picked = [{o.system for o in s.options} for s in by_kind["motion_quality"]]
    assert all(systems == {0, 1, 2} for systems in picked)
    assert (made.screens, made.systems, made.items) == (24, 3, 4)


def test_attention_checks_have_an_answer_and_look_like_the_others(made):
    key, data = read_key(made.key), page_data(made.page)
    checks = [s for s in key.screens if s.right is not None]
    assert len(checks) == 4 and {s.right for s in checks if s.criterion == "input_conformity"} == {"yes", "no"}
    for screen in checks:
        kind = data["criteria"][screen.criterion]["kind"]
        assert screen.right in ([o.token for o in screen.options] if kind == "pick" else ["yes", "no"])
        assert all(option.system is None for option in screen.options)
    shapes = {(s["kind"], len(s["options"]), frozenset(s)) for s in data["screens"]}
    assert {(kind, count) for kind, count, _ in shapes} == {("pick", 3), ("judge", 1)} and len(shapes) == 2


def test_nothing_on_the_page_says_which_video_is_whose(made, study_run):
    text = made.page.read_text(encoding="utf-8")
    words = re.sub(r"data:[a-z0-9/]+;base64,[A-Za-z0-9+/=]+", "", text)
    run_words = [*LABELS.values(), "no_ctx", "no_vdg", "ucf101", "msrvtt", str(study_run), "fake", "salt", "system"]
    leaks = [word for word in run_words if re.search(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])", words)]
    assert leaks == ["system"] and "which system made a video" in words  # said once, in a comment
    data = page_data(made.page)
    assert set(data) == {"study", "criteria", "inputs", "screens", "clips"}
    assert all(set(s) == {"id", "criterion", "kind", "input", "options"} for s in data["screens"])


def test_videos_are_made_anew_and_bear_no_mark_of_their_files(made, tmp_path):
    stored = {hashlib.sha256(p.read_bytes()).hexdigest() for p in made.page.parent.parent.parent.rglob("*.mp4")}
    shapes = set()
    for address in page_data(made.page)["clips"].values():
        content = base64.b64decode(address.split(",")[1])
        assert hashlib.sha256(content).hexdigest() not in stored
        with av.open(io.BytesIO(content)) as container:
            assert not {
                k: v for k, v in container.metadata.items() if k in ("title", "comment", "artist", "creation_time")
            }
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            shapes.add((len(frames), frames[0].shape, container.streams.video[0].average_rate))
    assert shapes == {(8, (128, 128, 3), 8)}


def test_titles_in_a_file_do_not_reach_the_page(tmp_path):
    run = write_run(
        tmp_path / "run", FakeRun(variants=("full", "no_ctx"), datasets=("ucf101",), samples=1, curves=False)
    )
    path = run / "samples/ucf101/no_ctx/0.mp4"
    with av.open(str(path)) as source, av.open(str(tmp_path / "t.mp4"), "w") as target:
        target.metadata["title"] = "SECRETVARIANT"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (tmp_path / "t.mp4").replace(path)
    assert b"SECRETVARIANT" in path.read_bytes()
    page = make([run], tmp_path / "out", items=1).page
    assert all(b"SECRETVARIANT" not in base64.b64decode(a.split(",")[1]) for a in page_data(page)["clips"].values())


def test_blind_names_come_from_the_salt_alone_and_the_order_tells_nothing(made, study_run, tmp_path):
    key = read_key(made.key)
    again = read_key(make([study_run], tmp_path / "again", items=2, salt="salt").key)
    other = read_key(make([study_run], tmp_path / "other", items=2).key)
    assert again == key and again.study == key.study
    names = {o.token for s in key.screens for o in s.options}
    assert not names & {o.token for s in other.screens for o in s.options} and len(other.salt) == 32
    places = [[o.system for o in s.options] for s in key.screens if len(s.options) == 3 and s.right is None]
    assert len({tuple(p) for p in places}) > 1, "systems stand in one order"
    clips = list(page_data(made.page)["clips"])
    assert clips == sorted(clips) and token("salt", "clip", 0, 0) != token("tlas", "clip", 0, 0)


def test_the_page_carries_the_hash_of_the_key_and_videos_that_the_key_knows(made):
    key, data = json.loads(made.key.read_text("utf-8")), page_data(made.page)
    assert data["study"] == name_of(key) and len(data["study"]) == 64
    assert {n: hashlib.sha256(v.encode()).hexdigest() for n, v in data["clips"].items()} == key["files"]
    used = {o for s in data["screens"] for o in s["options"]}
    assert used == set(data["clips"])


def test_a_hostile_prompt_is_data_and_the_page_asks_nobody(made):
    text = made.page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and HOSTILE in [i["prompt"] for i in page_data(made.page)["inputs"]]
    assert text.count("<script") == 2
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1])
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    own = re.sub(r"data:[a-z0-9/+;=-]+,[A-Za-z0-9+/=%._-]*|<script>.*?</script>", "", text, flags=re.S)
    assert "//" not in own


def test_two_runs_are_compared_on_the_same_inputs_only(study_run, tmp_path):
    other = write_run(tmp_path / "other", FakeRun(variants=("full", "no_ctx"), samples=2, curves=False))
    made = make([study_run, other], tmp_path / "out", variants=["full"], items=1)
    labels = [s.label for s in read_key(made.key).systems]
    assert labels == ["DynamiCrafter (fake)", "DynamiCrafter (other)"]
    (other / "samples/ucf101/condition/0.png").write_bytes((other / "samples/ucf101/condition/1.png").read_bytes())
    with pytest.raises(UsageError, match="ucf101 v_ucf101_g00_c01 is another picture in another run"):
        make([study_run, other], tmp_path / "out2", variants=["full"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"variants": ["full"]}, "1 systems (DynamiCrafter); allowed: 2 to 9"),
        ({"variants": ["full", "no_cxt"]}, "no variant 'no_cxt'. Known: full, no_ctx, no_vdg. Did you mean 'no_ctx'?"),
        ({"question": "dual"}, "no question 'dual'"),
        ({"items": 0}, "--items is 0; allowed: 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_said(study_run, tmp_path, arguments, said):
    with pytest.raises(UsageError) as error:
        make([study_run], tmp_path / "out", **arguments)
    assert said in str(error.value) and not (tmp_path / "out").exists()


def test_folders_without_samples_are_all_named(study_run, tmp_path):
    bare = write_run(tmp_path / "bare", FakeRun(samples=0, curves=False))
    with pytest.raises(UsageError) as error:
        choose.read_runs([bare, tmp_path / "nothing"])
    assert "bare holds no sample videos" in str(error.value) and "no records.jsonl there" in str(error.value)


def test_a_key_is_never_overwritten(made, study_run):
    with pytest.raises(UsageError, match="it is the only way to read the answers"):
        make([study_run], made.key.parent)


def test_inputs_that_lack_a_video_are_left_out(tmp_path):
    run = write_run(
        tmp_path / "run", FakeRun(variants=("full", "no_ctx"), datasets=("ucf101",), samples=2, curves=False)
    )
    (run / "samples/ucf101/no_ctx/0.mp4").unlink()
    key = read_key(make([run], tmp_path / "out").key)
    assert [item["id"] for item in key.items] == ["v_ucf101_g01_c01"]
    (run / "samples/ucf101/no_ctx/1.mp4").unlink()
    with pytest.raises(UsageError, match="no input has a video of every system"):
        make([run], tmp_path / "out2")


def test_a_longer_or_larger_video_is_brought_to_the_others_shape(tmp_path):
    import numpy as np

    run = write_run(
        tmp_path / "run", FakeRun(variants=("full", "no_ctx"), datasets=("ucf101",), samples=1, curves=False)
    )
    write_video(run / "samples/ucf101/no_ctx/0.mp4", np.zeros((12, 64, 64, 3), np.uint8), rate=25)
    page = make([run], tmp_path / "out").page
    seen = set()
    for address in page_data(page)["clips"].values():
        with av.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as container:
            stream = container.streams.video[0]
            seen.add((stream.frames, stream.width, stream.height, stream.average_rate))
    assert seen == {(8, 128, 128, 8)}


def test_make_and_tally_never_import_torch():
    code = (
        "import sys, bench.commands.study, bench.study.make, bench.study.tally\n"
        "print(sorted({'torch', 'torchvision', 'open_clip'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
