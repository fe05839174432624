"""Which video answers which condition: by name, by CSV; extra and missing are named, twice is refused."""

import pytest

from bench.scoring.matching import Names, match_outputs
from tests.bench.scoring.made import touch

IDS = Names.of(["video1", "video2", "deep/v3"], {"alias": "video2"})


def ids(matched):
    return [item.id for item in matched.items]


def test_names_are_ids_and_what_fits_none_is_extra(tmp_path):
    matched = match_outputs(touch(tmp_path, "video1.mp4", "alias.gif", "sub/v3.mkv", "other.mp4"), IDS)
    assert matched.paired
    assert ids(matched) == ["deep/v3", "video1", "video2"]
    assert matched.extra == ["other"]


def test_without_ids_every_video_is_its_own(tmp_path):
    matched = match_outputs(touch(tmp_path, "b.mp4", "a.mp4"))
    assert (ids(matched), matched.paired, matched.extra) == (["a", "b"], False, [])


def test_no_shared_name_means_independent_videos_and_says_so(tmp_path):
    matched = match_outputs(touch(tmp_path, "x.mp4", "y.mp4"), IDS)
    assert (ids(matched), matched.paired) == (["unpaired/x", "unpaired/y"], False)
    assert "taken as independent" in matched.notes[0]


def test_unpaired_on_request_keeps_all(tmp_path):
    matched = match_outputs(touch(tmp_path, "video1.mp4", "y.mp4"), IDS, unpaired=True)
    assert (ids(matched), matched.paired, matched.notes) == (["unpaired/video1", "unpaired/y"], False, [])


def test_two_videos_of_one_id_are_refused(tmp_path):
    touch(tmp_path, "video2.mp4", "alias.mp4")
    with pytest.raises(ValueError, match=r"1 ids have more than one video \('video2': alias and video2\)"):
        match_outputs(tmp_path, IDS)


def test_an_ambiguous_last_part_names_nothing(tmp_path):
    both = Names.of(["a/x", "b/x"])
    assert both.find("x") is None
    assert both.find("a/x") == "a/x"


def test_no_video_at_all_says_what_is_there(tmp_path):
    with pytest.raises(ValueError, match=r"no video there\. 1 items have an input and no output: i"):
        match_outputs(touch(tmp_path, "i/input.png"))


def test_inputs_by_id_or_name(tmp_path):
    videos = touch(tmp_path / "v", "video1.mp4", "alias.mp4", "own/output.mp4", "own/input.png")
    pictures = touch(tmp_path / "p", "video1.png", "alias.jpg", "stray.png")
    matched = match_outputs(videos, Names.of(["video1", "video2", "own"], {"alias": "video2"}), inputs=pictures)
    given = {item.id: item.input.name for item in matched.items}
    assert given == {"video1": "video1.png", "video2": "alias.jpg", "own": "input.png"}
    assert matched.notes == ["1 pictures of p belong to no video: stray.png"]


def test_two_inputs_of_one_video_are_refused(tmp_path):
    videos, pictures = touch(tmp_path / "v", "a.mp4"), touch(tmp_path / "p", "a.png", "a.jpg")
    with pytest.raises(ValueError, match=r"'a' has 2 inputs, a\.jpg and a\.png"):
        match_outputs(videos, inputs=pictures)


def test_captions_replace_sidecars_and_stray_ones_are_told(tmp_path):
    videos = touch(tmp_path / "v", "a.mp4", "b.mp4")
    touch(videos, "a.txt", text="old")
    captions = tmp_path / "c.csv"
    captions.write_text('id,prompt\na,"a <b>new</b>, one"\nz,nobody\n')
    matched = match_outputs(videos, captions=captions)
    assert [item.prompt for item in matched.items] == ["a <b>new</b>, one", ""]
    assert matched.notes == ["1 prompts of c.csv belong to no video: z"]


def csv(folder, text):
    path = folder / "matches.csv"
    path.write_text(text)
    return path


def test_a_csv_says_it_all(tmp_path):
    videos = touch(tmp_path / "v", "out_7.mp4", "out_8.mp4", "out_9.mp4", "in.png")
    listed = csv(tmp_path, "output,id,input,prompt\nout_7.mp4,video2,in.png,a ball\nout_8.mp4,video1,,\ngone.mp4,x,,\n")
    matched = match_outputs(videos, IDS, matches=listed)
    assert ids(matched) == ["video1", "video2"]
    assert (matched.items[1].input, matched.items[1].prompt) == (videos / "in.png", "a ball")
    assert (matched.extra, matched.missing) == (["out_9"], ["gone.mp4"])
    assert matched.notes == ["1 videos of matches.csv are not there: gone.mp4"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("output,id\n../x.mp4,a\n", "leaves"),
        ("output,id,input\na.mp4,a,/etc/passwd\n", "leaves"),
        ("output,id,input\na.mp4,a,b.png\n", "the input 'b.png' is not in"),
        ("video,id\na.mp4,a\n", "the columns are video, id; wanted output, id"),
        ("output,id\na.mp4\n", "1 cells, the header has 2"),
        ("output,id\na.mp4,\n", "must not be empty"),
        ("output,id\na.mp4,a\nb.mp4,a\n", "1 ids have more than one video"),
    ],
)
def test_a_csv_is_read_strictly(tmp_path, text, words):
    videos = touch(tmp_path / "v", "a.mp4", "b.mp4")
    with pytest.raises(ValueError, match=words):
        match_outputs(videos, matches=csv(tmp_path, text))
