"""UCF-101, MSR-VTT, WebVid and folders: lists, splits, captions, and notes on what is absent."""

import csv
import json
import os
import zipfile
from dataclasses import replace

import pytest

from datasets.catalog import check_disjoint, content_digest, open_catalog, shared
from datasets.files import one_line, printable, under_root, walk
from datasets.folder import read_captions
from datasets.procedural import class_words
from datasets.ucf101 import parse_name, split_name


def ids(catalog):
    return [video.id for video in catalog.videos]


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# --- UCF-101 ---


def make_ucf101(root, spelling="HandstandPushups"):
    touch(root / "UCF-101", *(f"YoYo/v_YoYo_g0{g}_c01.avi" for g in (1, 2, 8)))
    touch(root / "UCF-101", f"{spelling}/v_HandStandPushups_g01_c01.avi")
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_bytes(b"1 HandstandPushups\r\n2 YoYo\r\n")
    test = ["HandstandPushups/v_HandStandPushups_g01_c01.avi"]
    test += [f"YoYo/v_YoYo_g0{group}_c01.avi" for group in (1, 2, 3)]
    (lists / "testlist01.txt").write_bytes("".join(f"{line}\r\n" for line in test).encode())
    (lists / "trainlist01.txt").write_bytes(b"YoYo/v_YoYo_g08_c01.avi 2\r\n")
    return root


def test_ucf101_splits_classes_and_groups(tmp_path):
    make_ucf101(tmp_path)
    test = open_catalog("ucf101", tmp_path, "test1")
    assert ids(test) == ["v_HandStandPushups_g01_c01", "v_YoYo_g01_c01", "v_YoYo_g02_c01"]
    assert [(v.label, v.group, v.split, v.captions) for v in test.videos[:2]] == [
        ("HandstandPushups", "HandstandPushups_g01", "test1", ("handstand pushups",)),
        ("YoYo", "YoYo_g01", "test1", ("yo yo",)),
    ]
    assert test.missing == ("YoYo/v_YoYo_g03_c01.avi",)
    assert test.notes == ("1 of the 4 clips in split test1 are absent, the first: YoYo/v_YoYo_g03_c01.avi",)
    assert ids(open_catalog("ucf101", tmp_path, "trainlist01")) == ["v_YoYo_g08_c01"]
    assert len(open_catalog("ucf101", tmp_path).videos) == 4


def test_ucf101_itself_may_be_the_root(tmp_path):
    make_ucf101(tmp_path)
    assert ids(open_catalog("ucf101", tmp_path / "UCF-101", "test1")) == ids(open_catalog("ucf101", tmp_path, "test1"))


def test_both_spellings_of_handstand_pushups_have_one_id_and_one_label(tmp_path):
    one = make_ucf101(tmp_path / "a")
    other = make_ucf101(tmp_path / "b", "HandStandPushups")
    assert ids(open_catalog("ucf101", one, "test1")) == ids(open_catalog("ucf101", other, "test1"))
    for spelled in ("HandstandPushups", "HandStandPushups"):
        name, label, group = parse_name(f"v_{spelled}_g03_c01")
        assert (name, label) == ("v_HandStandPushups_g03_c01", "HandstandPushups")
        assert group == "HandstandPushups_g03" and class_words(label) == "handstand pushups"


def test_ucf101_without_lists_takes_all_clips_and_says_so(tmp_path):
    touch(tmp_path, "A/v_A_g01_c01.avi", "A/readme.avi")
    catalog = open_catalog("ucf101", tmp_path, "test1")
    assert ids(catalog) == ["v_A_g01_c01"] and catalog.missing == ()
    assert catalog.notes == (
        "1 files are not named v_Class_gNN_cNN and left out, the first: readme.avi",
        "split lists (ucfTrainTestlist): none found; split test1 is not applied, all 1 clips are taken",
    )


def test_ucf101_without_this_list_says_which_there_are(tmp_path):
    make_ucf101(tmp_path)
    catalog = open_catalog("ucf101", tmp_path, "test3")
    assert len(catalog.videos) == 4
    assert "only train1, test1 found; split test3 is not applied" in catalog.notes[0]


def test_ucf101_splits_are_named_in_several_ways():
    assert {split_name(s) for s in ("test1", "test01", "testlist01", "testlist01.txt", "Test_1")} == {"test1"}
    with pytest.raises(ValueError, match=r"split is 'validation'. Known for ucf101: train1, .*test3"):
        split_name("validation")


@pytest.mark.parametrize(
    "line, words", [("YoYo/nonsense.avi", "names no clip"), ("YoYo/v_YoYo_g01_c01.avi", "listed twice")]
)
def test_a_damaged_list_is_refused_by_line(tmp_path, line, words):
    make_ucf101(tmp_path)
    (tmp_path / "ucfTrainTestlist/testlist01.txt").write_text(f"YoYo/v_YoYo_g01_c01.avi\n{line}\n")
    with pytest.raises(ValueError, match=f"testlist01.txt:2: .*{words}"):
        open_catalog("ucf101", tmp_path, "test1")


def test_two_files_for_one_clip_are_refused(tmp_path):
    touch(tmp_path, "A/v_A_g01_c01.avi", "B/v_A_g01_c01.mp4")
    with pytest.raises(ValueError, match="v_A_g01_c01"):
        open_catalog("ucf101", tmp_path)


def test_the_official_lists_as_they_are(real_data):
    counts = {"train1": 9537, "train2": 9586, "train3": 9624, "test1": 3783, "test2": 3734, "test3": 3696}
    for split, count in counts.items():
        catalog = open_catalog("ucf101", real_data / "ucf101", split)
        assert len(catalog.videos) + len(catalog.missing) == count
    everything = open_catalog("ucf101", real_data / "ucf101")
    assert (len(everything.videos), len(everything.missing)) == (13, 13307)
    assert sum("HandstandPushups/v_HandStandPushups" in name for name in everything.missing) == 128


def test_every_official_class_in_words(real_data):
    lines = (real_data / "ucf101/ucfTrainTestlist/classInd.txt").read_text().split()[1::2]
    words = {class_words(label) for label in lines}
    assert len(words) == 101
    assert {"apply eye makeup", "yo yo", "clean and jerk", "handstand pushups", "tai chi", "biking"} <= words


# --- MSR-VTT ---


def make_annotation(first, count, split, captions=3):
    videos = [{"video_id": f"video{k}", "split": split, "url": f"u{k // 2}", "category": 1, "id": k}
              for k in range(first, first + count)]  # fmt: skip
    sentences = [{"caption": f"{v['video_id']} says {n}", "video_id": v["video_id"], "sen_id": n}
                 for n in range(captions) for v in videos]  # fmt: skip
    return {"info": {}, "videos": videos, "sentences": sentences}


def make_msrvtt(root):
    touch(root, "TestVideo/video20.mp4", "TestVideo/video22.mp4", "TrainValVideo/video1.mp4", "extra.mp4")
    (root / "test_videodatainfo.json").write_text(json.dumps(make_annotation(20, 4, "test")))
    with zipfile.ZipFile(root / "train_val_annotation.zip", "w") as archive:
        content = json.dumps(make_annotation(0, 3, "train"))
        archive.writestr("train_val_annotation/train_val_videodatainfo.json", content)
        archive.writestr("../../evil_videodatainfo.txt", "x")
    (root / "MSRVTT_JSFUSION_test.csv").write_text(
        'key,vid_key,video_id,sentence\nret0,msr22,video22,"a man, quoted"\nret1,msr23,video23,other\n'
    )
    return root


def test_msrvtt_splits_and_captions(tmp_path):
    make_msrvtt(tmp_path)
    test = open_catalog("msrvtt", tmp_path, "test")
    assert ids(test) == ["video20", "video22"] and test.missing == ("video21", "video23")
    assert test.videos[0].captions == ("video20 says 0", "video20 says 1", "video20 says 2")
    assert (test.videos[0].group, test.videos[0].split, test.videos[0].meta["category"]) == (
        "u10",
        "test",
        "1",
    )
    assert test.notes == (
        "2 of the 4 videos in split test are absent, the first: video21",
        "1 videos are in no annotation file and left out, the first: extra",
    )
    assert len(open_catalog("msrvtt", tmp_path).videos) == 3


def test_msrvtt_annotations_may_stay_in_their_zip(tmp_path):
    before = sorted(make_msrvtt(tmp_path).rglob("*"))
    train = open_catalog("msrvtt", tmp_path, "train")
    assert ids(train) == ["video1"] and train.videos[0].captions[0] == "video1 says 0"
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_an_unpacked_annotation_goes_before_its_zip(tmp_path):
    make_msrvtt(tmp_path)
    (tmp_path / "train_val_videodatainfo.json").write_text(json.dumps(make_annotation(0, 2, "validate")))
    assert ids(open_catalog("msrvtt", tmp_path, "val")) == ["video1"]


def test_msrvtt_1k_a_gives_each_video_its_sentence(tmp_path):
    make_msrvtt(tmp_path)
    catalog = open_catalog("msrvtt", tmp_path, "1k-A")
    assert [(v.id, v.captions, v.split) for v in catalog.videos] == [("video22", ("a man, quoted",), "1k-A")]
    assert catalog.missing == ("video23",)


def test_msrvtt_1k_a_with_semicolons(tmp_path):
    touch(tmp_path, "video22.mp4")
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_bytes(b"key;vid_key;video_id;sentence\r\nret0;m;video22;a, b\r\n")
    assert open_catalog("msrvtt", tmp_path, "1ka").videos[0].captions == ("a, b",)


def test_msrvtt_without_annotations_takes_all_videos_and_says_so(tmp_path):
    touch(tmp_path, "a/video1.mp4", "video2.MP4", "notes.txt")
    catalog = open_catalog("msrvtt", tmp_path, "test")
    assert ids(catalog) == ["video1", "video2"]
    assert catalog.notes == (
        "no *_videodatainfo.json found (nor a list of 1k-A): split test is not applied, all 2 videos are taken",
    )


@pytest.mark.parametrize("content, words", [
    ("[]", "an object was expected"), ("{", "not JSON"), ("{}", "'videos' is not a list of objects"),
    ('{"videos": [{"video_id": 3}], "sentences": []}', "'video_id' is 3; text was expected"),
    (json.dumps({"videos": [{"video_id": "a", "split": "test"}] * 2, "sentences": []}), "annotated twice"),
])  # fmt: skip
def test_damaged_annotations_are_refused_by_name(tmp_path, content, words):
    (tmp_path / "test_videodatainfo.json").write_text(content)
    with pytest.raises(ValueError, match=f"test_videodatainfo.json.*{words}"):
        open_catalog("msrvtt", tmp_path)


def test_a_broken_zip_and_a_zip_bomb_are_refused(tmp_path, monkeypatch):
    archive = tmp_path / "test_videodatainfo.json.zip"
    archive.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="not a readable zip file"):
        open_catalog("msrvtt", tmp_path)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("test_videodatainfo.json", " " * 10**6)
    monkeypatch.setattr("datasets.files.MAX_TEXT_BYTES", 10**5)
    with pytest.raises(ValueError, match=r"zip\[test_videodatainfo.json\] is larger than 100000 bytes"):
        open_catalog("msrvtt", tmp_path)


def test_two_files_for_one_video_are_refused(tmp_path):
    touch(tmp_path, "TestVideo/video1.mp4", "videos/video1.mp4")
    with pytest.raises(ValueError, match="two files are video 'video1'"):
        open_catalog("msrvtt", tmp_path)


def test_the_real_annotations(real_data):
    root = real_data / "msrvtt"
    sizes = {"train": (0, 6513), "validate": (0, 497), "test": (2, 2988), "1k-A": (2, 998), None: (2, 9998)}
    for split, (here, missing) in sizes.items():
        catalog = open_catalog("msrvtt", root, split)
        assert (len(catalog.videos), len(catalog.missing)) == (here, missing)
    assert [len(v.captions) for v in open_catalog("msrvtt", root, "test").videos] == [20, 20]
    assert open_catalog("msrvtt", root, "1k-A").videos[1].captions == ("a little girl does gymnastics",)


# --- WebVid ---


def make_webvid(root, rows, name="results_train.csv"):
    root.mkdir(exist_ok=True)
    with (root / name).open("w", newline="") as file:
        csv.writer(file).writerows([["videoid", "contentUrl", "duration", "page_dir", "name"], *rows])
    return root


def test_webvid_rows_with_and_without_an_address(tmp_path):
    first = ["11", "", "PT00H00M10S", "p 1", 'A "cat", two']
    make_webvid(tmp_path, [first, ["12", "https://x/12", "", "p 1", "dog"], ["13", "", "", "p2", "absent"]])
    touch(tmp_path, "videos/p 1/11.mp4", "p 1/12.mp4")
    catalog = open_catalog("webvid", tmp_path)
    assert [(v.id, v.captions) for v in catalog.videos] == [("11", ('A "cat", two',)), ("12", ("dog",))]
    assert catalog.videos[0].meta["seconds"] == "10"
    assert catalog.missing == ("videos/p2/13.mp4",)
    assert catalog.notes == ("1 of the 3 videos listed are absent, the first: videos/p2/13.mp4",)


def test_webvid_splits_are_files_and_repeated_rows_are_taken_once(tmp_path):
    row, touched = ["11", "", "", "p", "cat"], "videos/p/11.mp4"
    make_webvid(tmp_path, [row])
    make_webvid(tmp_path, [row, ["12", "", "", "p", "dog"]], "results_val.csv")
    touch(tmp_path, touched, "videos/p/12.mp4")
    assert ids(open_catalog("webvid", tmp_path, "train")) == ["11"]
    assert open_catalog("webvid", tmp_path).notes == ("1 rows repeat a video of another CSV file: taken once",)
    assert (
        open_catalog("webvid", tmp_path, "2M").notes[0] == "no CSV file is named after split '2M': all rows are taken"
    )
    make_webvid(tmp_path, [["11", "", "", "p", "another cat"]], "results_val.csv")
    with pytest.raises(ValueError, match=r"results_val.csv:2: videoid '11' is listed before"):
        open_catalog("webvid", tmp_path)


OUTSIDE = [("1", ".."), ("1", "/etc"), ("1", "a/../../b"), ("1", "C:\\x"), ("1", "..\\x")]
NO_NAMES = [("../1", "p"), ("", "p"), ("a/1", "p"), ("1\0", "p")]


@pytest.mark.parametrize("videoid, page", OUTSIDE + NO_NAMES)
def test_paths_of_an_annotation_file_stay_below_the_root(tmp_path, videoid, page):
    make_webvid(tmp_path / "root", [[videoid, "", "", page, "x"]])
    touch(tmp_path, "1.mp4", "b/1.mp4", "root/1.mp4")
    with pytest.raises(ValueError, match=r"results_train.csv:2|not CSV"):
        open_catalog("webvid", tmp_path / "root")


def test_a_csv_without_the_columns_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"no CSV file with the columns videoid, name, page_dir; found: .*x.csv \(a, b\)"
    ):
        open_catalog("webvid", tmp_path)


def test_a_row_with_too_few_cells_is_refused_by_line(tmp_path):
    (tmp_path / "x.csv").write_text("videoid,name,page_dir\n1,a,p\n2,b\n")
    with pytest.raises(ValueError, match=r"x.csv:3: 2 cells, the header has 3"):
        open_catalog("webvid", tmp_path)


def test_the_real_csv_files(real_data):
    for name in ("results_local.csv", "results_local_blank_contentUrl.csv"):
        assert ids(open_catalog("webvid", real_data / "webvid", name)) == ["1066674877", "1066674883"]
    assert len(open_catalog("webvid", real_data / "webvid").videos) == 2


# --- folders ---


def test_a_flat_folder_with_sidecars_and_strange_names(tmp_path):
    names = ["a.mp4", "sub/b.GIF", 'it\'s "q".avi', "two\nlines.mkv", os.fsdecode(b"\xff.mp4")]
    touch(tmp_path, *names, ".hidden.mp4", "notes.txt")
    (tmp_path / "a.txt").write_text("a car\n running ")
    catalog = open_catalog("folder", tmp_path)
    assert ids(catalog) == ["\\xff", "a", 'it\'s "q"', "sub/b", "two\nlines"]
    assert catalog.videos[1].captions == ("a car running",) and catalog.videos[3].captions == ()
    assert json.dumps(ids(catalog)) and one_line("two\nlines") == "two\\nlines"


def test_a_folder_per_item(tmp_path):
    touch(tmp_path, "x/one/output.gif", "x/one/input.png", "two/output.mp4", "two/input.gif")
    (tmp_path / "x/one/prompt.txt").write_text("dancing\n")
    one, two = reversed(open_catalog("folder", tmp_path).videos)
    assert (one.id, one.captions, one.meta["input"]) == (
        "x/one",
        ("dancing",),
        str(tmp_path / "x/one/input.png"),
    )
    assert (two.id, two.path.name) == ("two", "output.mp4")


def test_ids_that_differ_only_in_their_suffix_are_refused(tmp_path):
    touch(tmp_path, "a.mp4", "a.avi")
    with pytest.raises(ValueError, match=r"'a' names .*a.avi and .*a.mp4"):
        open_catalog("folder", tmp_path)


def test_captions_from_csv_json_and_lines(tmp_path):
    (tmp_path / "c.csv").write_text("id,prompt\na.mp4,first one\nb,second\n")
    (tmp_path / "c.json").write_text('{"a": "first one", "b": "second"}')
    (tmp_path / "c.txt").write_bytes(b"first one\r\nsecond")
    for name in ("c.csv", "c.json", "c.txt"):
        assert read_captions(tmp_path / name, ["a", "b"]) == {"a": "first one", "b": "second"}
    with pytest.raises(ValueError, match="2 lines for 3 videos"):
        read_captions(tmp_path / "c.txt", ["a", "b", "c"])
    (tmp_path / "d.csv").write_text("x,prompt\na,b\n")
    with pytest.raises(ValueError, match="one of id, videoid"):
        read_captions(tmp_path / "d.csv", ["a"])


def test_a_folder_has_no_splits_and_an_empty_one_is_noted(tmp_path):
    with pytest.raises(ValueError, match="has no splits"):
        open_catalog("folder", tmp_path, "test")
    assert open_catalog("folder", tmp_path).notes == (f"no video below {tmp_path}",)


def test_linked_folders_are_entered_once(tmp_path):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len([p for p in walk(tmp_path) if p.name == "a.mp4"]) == 1


def test_the_showcase_folders(real_data):
    catalog = open_catalog("folder", real_data / "showcase")
    assert len(catalog.videos) == 8 and all(video.captions for video in catalog.videos)
    assert sum("input" in video.meta for video in catalog.videos) == 6


# --- all ---


def test_an_unknown_data_set_or_root_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data set is 'ucf'. Known: ucf101, .*Did you mean 'ucf101'"):
        open_catalog("ucf", tmp_path)
    with pytest.raises(ValueError, match="absent is not a folder"):
        open_catalog("folder", tmp_path / "absent")


def test_shared_videos_groups_and_files_are_found(tmp_path):
    make_ucf101(tmp_path)
    train, test = open_catalog("ucf101", tmp_path, "train1"), open_catalog("ucf101", tmp_path, "test1")
    check_disjoint(train, test)
    everything = open_catalog("ucf101", tmp_path)
    assert shared(train, everything)[:2] == ["video v_YoYo_g08_c01", "group YoYo_g08"]
    with pytest.raises(ValueError, match="share 3 items, the first: video v_YoYo_g08_c01"):
        check_disjoint(train, everything)


def test_clips_of_ucf101_are_known_in_a_plain_folder_too(tmp_path):
    make_ucf101(tmp_path / "official")
    touch(tmp_path / "copy", "films/v_YoYo_g01_c04.avi", "films/other.avi")
    copy = open_catalog("folder", tmp_path / "copy")
    assert shared(copy, open_catalog("ucf101", tmp_path / "official", "test1")) == ["group YoYo_g01"]
    assert shared(copy, open_catalog("ucf101", tmp_path / "official", "train1")) == []


def test_the_same_file_under_another_id_is_found(tmp_path):
    touch(tmp_path, "sub/video1.mp4")
    here, above = open_catalog("folder", tmp_path / "sub"), open_catalog("msrvtt", tmp_path)
    assert shared(here, above) == [f"file {tmp_path / 'sub/video1.mp4'}"]


def test_another_group_number_is_another_group_only_within_a_class(tmp_path):
    touch(tmp_path / "a", "v_A_g01_c01.avi")
    touch(tmp_path / "b", "v_B_g01_c01.avi")
    touch(tmp_path / "c", "v_A_g01_c02.avi")
    a, b, c = (open_catalog("ucf101", tmp_path / name) for name in "abc")
    assert shared(a, b) == [] and shared(a, c) == ["group A_g01"]


def test_the_content_digest_covers_files_captions_and_nothing_about_the_place(tmp_path):
    for name in ("one", "two"):
        touch(tmp_path / name, "a.mp4")
        (tmp_path / name / "a.txt").write_text("a cat")

    def content(name):
        return content_digest(open_catalog("folder", tmp_path / name), lambda path: path.read_bytes().hex())

    assert content("one") == content("two")
    (tmp_path / "two/a.txt").write_text("a dog")
    changed = content("two")
    (tmp_path / "two/a.txt").write_text("a cat")
    (tmp_path / "two/a.mp4").write_bytes(b"y")
    byte_changed = content("two")
    assert len({content("one"), changed, byte_changed}) == 3
    noted = replace(open_catalog("folder", tmp_path / "one"), notes=("2 videos are absent",))
    assert content_digest(noted, lambda path: path.read_bytes().hex()) != content("one")


def test_under_root_keeps_plain_paths(tmp_path):
    assert under_root(tmp_path, "a b/..c/d.mp4", "x") == tmp_path / "a b/..c/d.mp4"
    assert printable("é\udcff") == "é\\xff"
