"""A table of captions, filtered: row by row, whole or not at all, and every refusal names file and line."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datasets.caption_table import Wanted, filter_table
from datasets.motion_text import split

ROOT = Path(__file__).resolve().parents[2]
SOUND = (
    "videoid,contentUrl,duration,page_dir,name\n"
    "1,,PT00H00M10S,p,A man jumping into the pool\n"
    '2,,PT00H00M10S,p,"Old house, snow"\n'
    "3,,PT00H00M10S,p,=1+1 running dog\n"
    "4,,PT00H00M10S,p,\n"
)


def table(tmp_path: Path, text: str | bytes = SOUND) -> Path:
    path = tmp_path / "in.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_that_tell_of_motion_are_kept_with_both_texts(tmp_path: Path) -> None:
    counts = filter_table(table(tmp_path), tmp_path / "out.csv", Wanted())
    first, second = rows(tmp_path / "out.csv")
    assert (counts.rows, counts.kept, counts.empty, dict(counts.by)) == (4, 2, 1, {"rules": 4})
    assert first == {
        "videoid": "1", "contentUrl": "", "duration": "PT00H00M10S", "page_dir": "p",
        "name": "A man jumping into the pool", "scene": "a man the pool", "motion": "man jumping into the pool",
        "dynamic": "0.9100",
    }  # fmt: skip
    assert second["name"] == "=1+1 running dog", "a caption is text: it is not changed for a spreadsheet"


def test_every_row_is_kept_when_none_need_be_dynamic(tmp_path: Path) -> None:
    filter_table(table(tmp_path), tmp_path / "out.csv", Wanted(least=0.0))
    assert [row["videoid"] for row in rows(tmp_path / "out.csv")] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("text", ["scene", "motion"])
def test_another_text_may_stand_for_the_caption_which_is_kept_beside_it(tmp_path: Path, text: str) -> None:
    filter_table(table(tmp_path), tmp_path / "out.csv", Wanted(text=text))
    for row in rows(tmp_path / "out.csv"):
        assert row["name"] == row[text] == getattr(split(row["caption"]), text)
    with pytest.raises(ValueError, match=r"out.csv:1: there is a column 'caption' already"):
        filter_table(tmp_path / "out.csv", tmp_path / "again.csv", Wanted(text=text))


def test_a_table_that_was_taken_apart_before_is_taken_apart_anew(tmp_path: Path) -> None:
    filter_table(table(tmp_path), tmp_path / "one.csv", Wanted(least=0.0))
    filter_table(tmp_path / "one.csv", tmp_path / "two.csv", Wanted())
    filter_table(table(tmp_path), tmp_path / "three.csv", Wanted())
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "three.csv").read_bytes()


def test_other_tables_name_their_column_and_keep_their_delimiter(tmp_path: Path) -> None:
    source = table(tmp_path, "\ufeffkey;sentence\r\nret0;a dog runs\r\n\r\nret1;a dog\r\n")
    filter_table(source, tmp_path / "out.csv", Wanted(column="sentence"))
    assert (
        tmp_path / "out.csv"
    ).read_text() == "key;sentence;scene;motion;dynamic\nret0;a dog runs;a dog;dog runs;0.8500\n"


def test_a_real_table_is_read(tmp_path: Path, real_data: Path) -> None:
    counts = filter_table(real_data / "webvid" / "results_local.csv", tmp_path / "out.csv", Wanted(least=0.0))
    assert counts.rows == counts.kept == 2 and all(float(row["dynamic"]) > 0.5 for row in rows(tmp_path / "out.csv"))


HEAD = "videoid,name\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"in.csv:1: no column 'name', where captions are; found: none"),
        (b"a,b\n1,2\n", r"in.csv:1: no column 'name', where captions are; found: a, b"),
        (b"name,name\n1,2\n", r"in.csv:1: two columns are called 'name'"),
        (HEAD.encode() + b"1,x\n2\n", r"in.csv:3: 1 cells, the header has 2"),
        (HEAD.encode() + b"1,x,y\n", r"in.csv:2: 3 cells, the header has 2"),
        (HEAD.encode() + b'1,"x\n\n\n', r"in.csv:4: not CSV: unexpected end of data"),
        (HEAD.encode() + b'1,"x"y\n', r"in.csv:2: not CSV: ',' expected after '\"'"),
        (HEAD.encode() + b"1,x\n2,\xff\n", r"in.csv:3: not UTF-8 text: invalid start byte"),
        (HEAD.encode() + b"1,a\x00b\n", r"in.csv:2: a NUL byte in the caption"),
        (HEAD.encode() + b"1," + b"x" * 200_000 + b"\n", r"in.csv:2: not CSV: field larger than field limit"),
        (HEAD.encode() + b"1," + b"x," * 600_000 + b"\n", r"in.csv:2: a line of more than 1048576 bytes"),
    ],
)
def test_what_is_no_table_is_refused_by_file_and_line_and_nothing_is_left(
    tmp_path: Path, data: bytes, message: str
) -> None:
    source = table(tmp_path, data)
    with pytest.raises(ValueError, match=message):
        filter_table(source, tmp_path / "out.csv", Wanted())
    assert os.listdir(tmp_path) == ["in.csv"]


def test_a_table_that_was_there_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    with pytest.raises(ValueError):
        filter_table(table(tmp_path, HEAD + "1\n"), out, Wanted())
    assert out.read_text() == "before" and sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv"]


def test_odd_places_are_refused(tmp_path: Path) -> None:
    source, out = table(tmp_path), tmp_path / "out.csv"
    with pytest.raises(ValueError, match="is the table itself"):
        filter_table(source, source, Wanted())
    with pytest.raises(ValueError, match="cannot be written"):
        filter_table(source, tmp_path / "no" / "out.csv", Wanted())
    with pytest.raises(ValueError, match="cannot be read"):
        filter_table(tmp_path / "none.csv", out, Wanted())
    (tmp_path / "folder.csv").mkdir()
    for there in (tmp_path / "folder.csv", Path(os.devnull)):  # before any caption is looked at
        with pytest.raises(ValueError, match="is no regular file"):
            filter_table(source, there, Wanted(), splitter=lambda caption: pytest.fail("too late"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="not a regular file"):
        filter_table(tmp_path / "pipe.csv", out, Wanted())


@pytest.mark.parametrize("wrong", [{"text": "all"}, {"least": 1.5}, {"least": -0.1}, {"least": float("nan")}])
def test_what_is_not_allowed_is_said(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"Known: both, scene, motion|allowed: 0 to 1"):
        Wanted(**wrong)


PIECES = ['"', ",", ";", "\n", "\r", "\r\n", "\x00", "\ufeff", "=1+1", "@x", "a dog runs", "name", "\u2028", "\x1b[31m"]


@settings(
    max_examples=int(os.environ.get("FAULTS_CASES", "80")), deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    st.one_of(
        st.binary(max_size=120), st.lists(st.sampled_from(PIECES), max_size=30).map(lambda p: "".join(p).encode())
    )
)
@example(b"\xef\xbb\xbfname\n@SUM(A1)\n")
def test_a_table_is_filtered_or_refused_with_file_and_line(tmp_path: Path, data: bytes) -> None:
    source, out = table(tmp_path, HEAD.encode() + data), tmp_path / "out.csv"
    try:
        counts = filter_table(source, out, Wanted(least=0.0))
    except ValueError as refusal:
        assert re.match(rf"{re.escape(str(source))}:[1-9]\d*: \S", str(refusal)) and str(refusal).isprintable()
        return
    written = rows(out)
    assert len(written) == counts.kept == counts.rows
    assert all(row[name] == "" or row[name][0].isalnum() for row in written for name in ("scene", "motion"))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Peak memory of a process that filters 80 000 rows, beside one that filters 2 000."""
    code = (
        "import sys, resource; from pathlib import Path; from datasets.caption_table import *; "
        "filter_table(Path(sys.argv[1]), Path(sys.argv[2]), Wanted(), lambda c: MADE); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    ).replace("MADE", "__import__('datasets.motion_text').motion_text.Split(c, '', '', (), (), 0.9)")
    peaks = []
    for count in (2_000, 80_000):
        source = tmp_path / f"{count}.csv"
        with source.open("w") as file:
            file.write(HEAD)
            file.writelines(f"{number},a dog number {number} runs away from the house\n" for number in range(count))
        command = [sys.executable, "-c", code, str(source), str(tmp_path / "out.csv")]
        peaks.append(int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 2_000, f"{peaks} kB"  # the larger table is 4 MB


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    told: list[int] = []
    filter_table(table(tmp_path), tmp_path / "out.csv", Wanted(), progress=told.append, every=2)
    assert told == [2, 4]
