"""Exported conditions: what is in them, and that every change to them is seen."""

import json
import shutil

import pytest

from bench.errors import UsageError
from bench.fingerprint import digest
from bench.scoring.conditions import FILE, find_conditions, read_conditions, safe_names
from bench.scoring.hand_out import HandOut, hand_out
from datasets.files import parse_csv
from datasets.framefile import read_frames
from datasets.images import read_image
from tests.bench.scoring.conftest import SAMPLES, common, edit, reference_clips
from tests.bench.scoring.made import noise, picture


@pytest.fixture
def copy(conditions, tmp_path):
    return shutil.copytree(conditions / "ucf101", tmp_path / "ucf101")


def test_an_export_holds_the_first_frames_of_the_reference_clips(conditions, store):
    found = read_conditions(conditions / "ucf101")
    assert (len(found.items), found.problems, found.samples) == (SAMPLES, (), SAMPLES)
    artifact = reference_clips(store)
    ids = [item["id"] for item in json.loads((artifact / "items.json").read_text())]
    for item, clip in zip(found.items, read_frames(artifact / "clips.safetensors"), strict=False):
        assert item.id == ids.pop(0)
        assert (read_image(found.folder / item.file) == clip[0]).all()
        assert read_image(found.folder / item.original).shape[0] >= 32


def test_prompts_csv_ids_and_readme_tell_the_same(conditions):
    folder, found = conditions / "ucf101", read_conditions(conditions / "ucf101")
    header, rows = parse_csv((folder / "prompts.csv").read_text(), "prompts.csv")
    assert header == ["id", "file", "prompt", "dataset", "frames", "frame_stride", "fps", "source_fps"]
    assert rows[0][1] == [found.items[0].id, found.items[0].file, found.items[0].prompt, "ucf101", "8", "3", "8", "24"]
    assert (folder / "ids.txt").read_text().split() == [item.id for item in found.items]
    readme = (folder / "README.txt").read_text()
    assert found.hash in readme and "lossless" in readme and str(conditions) not in readme


def test_the_same_export_again_is_left_alone_and_another_is_refused(conditions, store):
    before = (conditions / "ucf101" / FILE).stat().st_mtime_ns
    hand_out(HandOut("ucf101", "tiny/v1", conditions, common(store), original=True))
    assert (conditions / "ucf101" / FILE).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="other files are there already"):
        hand_out(HandOut("ucf101", "tiny/v1", conditions, common(store, samples=4)))
    assert [path.name for path in conditions.iterdir()] == ["ucf101"]


def test_the_hash_is_of_everything_and_the_same_every_time(conditions, store, tmp_path):
    again = hand_out(HandOut("ucf101", "tiny/v1", tmp_path, common(store), original=True))
    assert (again / FILE).read_bytes() == (conditions / "ucf101" / FILE).read_bytes()


LINES = "1 lines of prompts.csv"
CHANGES = [
    (lambda f, i: picture(f / i.file, noise(1, 1)[0]), "1 pictures changed: {file}"),
    (lambda f, i: (f / i.file).write_bytes(b"no picture"), "1 pictures changed: {file}"),
    (lambda f, i: (f / i.file).unlink(), "1 pictures missing: {file}"),
    (lambda f, i: picture(f / "frames/more.png", noise(1, 1)[0]), "1 pictures not part of the export: more.png"),
    (lambda f, i: (f / i.original).unlink(), "1 pictures missing: {original}"),
    (lambda f, i: (f / "prompts.csv").unlink(), "prompts.csv is missing"),
    (lambda f, i: prompts(f, lambda t: t.replace(f",{i.prompt},", ",a dog,", 1)), LINES + " changed: {id}"),
    (lambda f, i: prompts(f, lambda t: without_line(t, 1)), LINES + " missing: {id}"),
    (
        lambda f, i: prompts(f, lambda t: t + "new,frames/x.png,,ucf101,8,3,8,24\n"),
        LINES + " not part of the export: new",
    ),
    (lambda f, i: prompts(f, lambda t: t.replace("id,file", "name,file", 1)), "the columns of prompts.csv were"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_every_change_is_named(copy, change, words):
    first = read_conditions(copy).items[0]
    change(copy, first)
    (problem,) = read_conditions(copy).problems
    assert problem.startswith("conditions: ")
    assert words.format(file=first.file, id=first.id, original=first.original) in problem


def prompts(folder, change):
    path = folder / "prompts.csv"
    path.write_text(change(path.read_text()))


def without_line(text, number):
    lines = text.splitlines(keepends=True)
    return "".join(lines[:number] + lines[number + 1 :])


def test_a_picture_written_anew_without_loss_is_the_same(copy):
    path = copy / read_conditions(copy).items[0].file
    before = path.read_bytes()
    from PIL import Image

    Image.fromarray(read_image(path)).save(path, compress_level=0)
    assert path.read_bytes() != before
    assert read_conditions(copy).problems == ()


def test_an_edited_file_is_refused(copy):
    edit(copy / FILE, lambda c: c["items"][0].update(prompt="a dog"))
    with pytest.raises(ValueError, match="it was changed since it was exported"):
        read_conditions(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["items"][0].update(file="../../x.png"), "leaves"),
        (lambda c: c["items"][0].update(file=3), "not as `python -m bench conditions` writes it"),
        (lambda c: c["items"][0].pop("pixels"), "not as `python -m bench conditions` writes it"),
        (lambda c: c.update(items=4), "not as `python -m bench conditions` writes it"),
        (lambda c: c.update(schema=9), "schema 9; wanted"),
    ],
)
def test_a_forged_file_with_a_fitting_hash_is_still_read_strictly(copy, change, words):
    def forge(content):
        change(content)
        content.pop("hash")
        content["hash"] = digest(content)

    edit(copy / FILE, forge)
    with pytest.raises(ValueError, match=words):
        read_conditions(copy)


def test_an_export_is_found_in_its_folder_or_by_data_set(conditions, tmp_path):
    assert find_conditions(conditions, "ucf101") == conditions / "ucf101"
    assert find_conditions(conditions / "ucf101", "ucf101") == conditions / "ucf101"
    assert find_conditions(conditions, "msrvtt") is None
    assert find_conditions(tmp_path) is None


def test_disagreements_name_field_and_both_values(conditions):
    found = read_conditions(conditions / "ucf101")
    assert found.disagreements({**found.choices, "size": [64, 64], "feature": "other"}) == [
        "size is [32, 32] in the conditions (tiny/v1), [64, 64] here"
    ]
    assert found.disagreements(dict(found.choices)) == []


def test_names_are_safe_on_any_file_system_and_never_collide():
    ids = ["v_A_g01_c01", "a/b", "a_b", "A_b", "../x", "input", "", "é", "x" * 200, "x" * 200 + "y", "a b.c"]
    names = safe_names(ids)
    assert names[0] == ids[0]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(name and "/" not in name and not name.startswith(".") and len(name) < 120 for name in names)
    assert safe_names(ids) == names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "kinetics"}, "data set is 'kinetics'. Known: ucf101, msrvtt, folder"),
        ({"protocol": "tiny/v9"}, "--protocol tiny/v9"),
        ({"data": ("folder=tests",)}, "no videos found"),
        ({"data": ("msrvtt=world",)}, "conditions of ucf101 need ucf101=DIR, alone"),
        ({"data": ("ucf101=/nowhere",)}, "--data ucf101=/nowhere: there is no such folder"),
    ],
)
def test_a_wrong_command_says_what_is_allowed(store, tmp_path, change, words):
    with pytest.raises(UsageError) as error:
        hand_out(
            HandOut(**{"dataset": "ucf101", "protocol": "tiny/v1", "out": tmp_path, "common": common(store)} | change)
        )
    assert words in str(error.value)
