"""Which videos are in a folder: files, folders of pictures, items; what is odd is named, what is twice refused."""

import pytest

from bench.scoring import outputs
from bench.scoring.outputs import check_unique, find_outputs, gap, numbered, output_at
from tests.bench.scoring.made import touch


def names(found):
    return [output.name for output in found.outputs]


def test_a_flat_folder_and_folders_in_it(tmp_path):
    found = find_outputs(touch(tmp_path, "b.mp4", "a.GIF", "deep/er/c.webm", ".hidden.mp4"))
    assert names(found) == ["a", "b", "deep/er/c"]
    assert found.odd == found.without_output == []


def test_a_prompt_beside_a_video_is_its_prompt(tmp_path):
    touch(tmp_path, "a.mp4", "b/1.png", "b/2.png")
    touch(tmp_path, "a.txt", "b/prompt.txt", text=" a red\n ball ")
    assert [output.prompt for output in find_outputs(tmp_path).outputs] == ["a red ball"] * 2


def test_items_have_input_output_and_prompt(tmp_path):
    touch(tmp_path, "one/input.png", "one/output.gif", "two/output.mp4", "three/input.jpg", "three/notes.pdf")
    touch(tmp_path, "one/prompt.txt", text="dance")
    found = find_outputs(tmp_path)
    assert names(found) == ["one", "two"]
    assert (found.outputs[0].prompt, found.outputs[0].input) == ("dance", tmp_path / "one/input.png")
    assert found.outputs[1].input is None
    assert found.without_output == ["three"]
    assert found.odd == ["three/notes.pdf"]


def test_numbered_pictures_are_one_video_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "v/f10.png", "v/f9.png", "v/f8.jpg", "item/output/001.png", "item/output/002.png", "item/input.png")
    found = find_outputs(tmp_path)
    assert names(found) == ["item", "v"]
    item, plain = found.outputs
    assert [p.name for p in plain.pictures] == ["f8.jpg", "f9.png", "f10.png"]
    assert (item.path, len(item.pictures), item.input) == (tmp_path / "item/output", 2, tmp_path / "item/input.png")


def test_pictures_without_different_numbers_are_no_video(tmp_path):
    found = find_outputs(touch(tmp_path, "v/a.png", "v/b.png", "w/a_1.png", "w/b_1.png", "x/1.png"))
    assert (found.outputs, len(found.odd)) == ([], 5)


def test_the_root_may_be_an_item_itself(tmp_path):
    root = touch(tmp_path / "dance", "input.png", "output.gif")
    assert names(find_outputs(root)) == ["dance"]


def test_two_files_of_one_name_are_refused_by_name(tmp_path):
    touch(tmp_path, "a.mp4", "a.gif", "i/output.mp4", "i/output.webm", "c.avi")
    with pytest.raises(ValueError, match=r"2 videos are there twice: a\.gif and a\.mp4; i/output\.mp4 and i/output"):
        check_unique(tmp_path, find_outputs(tmp_path).outputs)


def test_two_inputs_of_one_item_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"2 inputs, i/input\.jpg and i/input\.png\. Keep one"):
        find_outputs(touch(tmp_path, "i/input.png", "i/input.jpg", "i/output.mp4"))


def test_files_and_prompts_are_bounded(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "b.mp4", "v/1.png", "v/2.png", "v/3.png")
    monkeypatch.setattr(outputs, "MAX_PICTURES", 2)
    with pytest.raises(ValueError, match="3 pictures; a video has 2 at most"):
        find_outputs(tmp_path)
    monkeypatch.setattr(outputs, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="more than 3 files"):
        find_outputs(tmp_path)
    long = touch(tmp_path / "long", "a.mp4")
    touch(long, "a.txt", text="x" * (outputs.MAX_PROMPT + 1))
    with pytest.raises(ValueError, match="a prompt has 20000 at most"):
        find_outputs(long)


def test_a_listed_path_may_name_a_file_a_folder_of_pictures_or_an_item(tmp_path):
    touch(tmp_path, "a.mp4", "v/1.png", "v/2.png", "i/output.gif", "i/input.png", "no/x.txt")
    assert output_at(tmp_path, "a.mp4", "x.csv:2").name == "a"
    assert len(output_at(tmp_path, "v", "x.csv:2").pictures) == 2
    assert output_at(tmp_path, "i", "x.csv:2").input == tmp_path / "i/input.png"
    assert output_at(tmp_path, "gone.mp4", "x.csv:2") is None
    assert output_at(tmp_path, "no", "x.csv:2") is None


@pytest.mark.parametrize("path", ["../a.mp4", "/etc/passwd", "v/../../a.mp4", "C:/a.mp4", ""])
def test_a_listed_path_cannot_leave_its_folder(tmp_path, path):
    with pytest.raises(ValueError, match=r"x\.csv:2: the path .* leaves"):
        output_at(tmp_path, path, "x.csv:2")


def test_a_gap_in_the_numbers_is_told():
    assert gap(["0.png", "3.png", "6.png"]) == ""
    assert gap(["1.png", "2.png", "4.png"]) == "pictures are missing between 2.png and 4.png"
    assert numbered([]) == ()
