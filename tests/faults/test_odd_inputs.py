"""Every odd or damaged file has a verdict by its name, within bounds of time and memory; records count them."""

import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from bench.assemble import video_notes
from bench.fingerprint import FileHashes
from bench.profile import load_profile
from bench.sources import user_data
from bench.steps import clips as clips_step
from bench.work import Work
from datasets.clip import BadVideo
from datasets.decode import Cut, Limits, decode_all, decode_clip
from datasets.images import read_image
from tests.faults import odd_files, tables

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = {  # name -> verdict, words
    "plain.mp4": ("used as is", ""),
    "one_frame.mp4": ("set aside", "too short: 1 frame, 22 needed"),
    "odd_17x31.avi": ("used as is", ""),
    "grey.mkv": ("used with a note", "no colour (grey)"),
    "ten_bit.mkv": ("used with a note", "10 bits a channel, shown with 8"),
    "variable_rate.mkv": ("used with a note", "variable frame rate: frames are counted, not resampled in time"),
    "rotated.mp4": ("used with a note", "turned upright by 270 degrees"),
    "changes_size.mpg": ("used with a note", "its frames change their size"),
    "audio_only.mp4": ("set aside", "no video stream"),
    "truncated.avi": ("set aside", "too short: "),
    "flipped_1k.mp4": ("used with a note", "flagged corrupt: "),
    "empty.mp4": ("set aside", "empty file (0 bytes)"),
    "text_renamed.avi": ("set aside", "cannot be read as video"),
    "random.mp4": ("set aside", "cannot be read as video"),
    "headless.mp4": ("set aside", "cannot be read as video"),
    "huge_raw.avi": ("set aside", "it states no size, or more than 33554432 pixels"),
    "huge_mpeg4.avi": ("used as is", ""),
    "huge_png.avi": ("set aside", "no frame decodes"),
    "huge_screen.gif": ("set aside", "it states no size, or more than 33554432 pixels"),
    "huge_count.avi": ("used with a note", "its header says 4294967295 frames, 40 are there"),
    "playlist.mp4": ("set aside", "cannot be read as video"),
    "script.mp4": ("set aside", "cannot be read as video"),
    "folder.mp4": ("set aside", "not a regular file"),
    "pipe.mp4": ("set aside", "not a regular file"),
    "socket.mp4": ("set aside", "not a regular file"),
    "device.mp4": ("set aside", "not a regular file"),
    "dangling.mp4": ("set aside", "missing"),
    "loop.mp4": ("set aside", "cannot be opened"),
    **dict.fromkeys(odd_files.NAMES, ("used as is", "")),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    assert odd_files.make(folder).keys() == EXPECTED.keys()
    return folder


def test_every_file_has_its_verdict_and_nothing_hangs(odd: Path) -> None:
    began = time.monotonic()
    found = tables.verdicts(odd)
    assert time.monotonic() - began < 20
    assert found.keys() == EXPECTED.keys()
    for name, (verdict, words) in EXPECTED.items():
        assert found[name][0] == verdict and words in found[name][1], (name, found[name])
        assert (verdict == "used as is") == (not found[name][1])


def test_a_file_that_may_not_be_read_is_set_aside() -> None:
    verdict, message = tables.unreadable()["unreadable.mp4"]
    assert verdict == "set aside" and "Permission denied" in message


def test_the_clips_step_names_them_all_and_the_records_count_them(odd: Path, tmp_path: Path) -> None:
    """The catalog, its digest and the step: what a run does with such a folder."""
    own = user_data(load_profile("smoke"), "train", odd, FileHashes())
    assert len(own.content) == 64
    rule = {**vars(tables.RULE), "caption": "none"}
    config = {"catalog": "folder", "dataset": "train", "root": str(odd), "split": None, "rule": rule, "content": None}
    work = Work(config, {}, tmp_path / "out", tmp_path / "scratch")
    work.out.mkdir()
    clips_step.run(work)
    told = [json.loads((work.out / name).read_text()) for name in ("notes.json", "set_aside.json", "items.json")]
    notes = video_notes(*told)
    by_verdict = [verdict for verdict, _ in EXPECTED.values()]
    aside = next(note for note in notes if "set aside" in note)
    assert aside.startswith(f"{by_verdict.count('set aside')} videos set aside: ")
    for reason in ("4 not a regular file", "5 cannot be read as video", "1 no video stream", "1 empty file"):
        assert reason in aside
    damaged = next(note for note in notes if "damaged, used" in note)
    noted = next(note for note in notes if "used with a note" in note)
    assert damaged.startswith("2 videos") and noted.startswith("5 videos")
    assert "1 variable frame rate" in noted and "1 turned upright by" in noted
    assert all(note.isprintable() for note in notes)


HUGE = ("huge_raw.avi", "huge_mpeg4.avi", "huge_png.avi", "huge_screen.gif", "huge_count.avi")
BOUNDED = """
import resource, sys
from pathlib import Path
from datasets.clip import BadVideo
from datasets.decode import Cut, decode_clip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for name in sys.argv[1:]:
    try:
        decode_clip(Path(name), Cut(4, (1,), "center"))
    except BadVideo:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_what_a_file_claims_costs_no_memory(odd: Path) -> None:
    """65535 x 65535 pixels of RGB would be 12 GB."""
    command = [sys.executable, "-c", BOUNDED, *(str(odd / name) for name in HUGE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000, f"{done.stdout} kB"


def test_frames_that_are_held_are_bounded(tmp_path: Path) -> None:
    path = odd_files.video(tmp_path / "v.mp4", odd_files.noise())
    few = Limits(held=5 * 48 * 64 * 3)
    with pytest.raises(BadVideo, match="its frames take more than 46080 bytes of memory"):
        decode_all(path, few)
    with pytest.raises(BadVideo, match="bytes of memory"):
        decode_clip(path, Cut(6), limits=few)
    assert decode_clip(path, Cut(5), limits=few).frames.shape[0] == 5


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    """Its videos would be missing without a word."""
    with tables.a_folder() as folder:
        odd_files.video(folder / "a.mp4", odd_files.noise(2))
        (folder / "closed").mkdir(mode=0)

        def ask() -> tables.Verdicts:
            try:
                return tables.verdicts(folder)
            except ValueError as error:
                return {"": ("error", str(error))}

        verdict, message = tables.as_nobody(ask)[""]
        assert verdict == "error" and "closed cannot be listed (Permission denied)" in message


PICTURES = {
    "pipe.png": lambda path: os.mkfifo(path),
    "device.png": lambda path: path.symlink_to("/dev/zero"),
    "folder.png": lambda path: path.mkdir(),
    "empty.png": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("not a picture"),
    "huge.png": lambda path: path.write_bytes(HUGE_PICTURE),
    "absent.png": lambda path: None,
}


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


HUGE_PICTURE = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">2I", 65535, 65535) + b"\x08\x02\0\0\0")
    + _chunk(b"IDAT", zlib.compress(bytes(100)))
)


@pytest.mark.parametrize("name", PICTURES)
def test_odd_pictures_are_refused_by_their_name(tmp_path: Path, name: str) -> None:
    PICTURES[name](tmp_path / name)
    with pytest.raises(ValueError, match=name) as caught:
        read_image(tmp_path / name)
    assert name != "huge.png" or "65535x65535 is larger than" in str(caught.value)


def test_real_damaged_files_have_their_verdicts(real_data: Path) -> None:
    found = tables.verdicts(real_data / "bad")
    assert {name: verdict for name, (verdict, _) in found.items()} == {
        "flipped_1k.mp4": "used with a note",
        "grey.mp4": "used as is",
        "grey_ffv1.avi": "set aside",
        "odd_17x31.avi": "set aside",
        "one_frame.mp4": "set aside",
        "text_renamed.avi": "set aside",
        "truncated_40pct.avi": "used with a note",
        "zero_byte.mp4": "set aside",
    }


@pytest.mark.parametrize("name", ["inputs", "specs", "real"])
def test_the_tables_that_are_written_down_are_these(name: str, request) -> None:
    """After a change: python -m tests.faults.tables"""
    if name == "real":
        rows = tables.real_inputs(request.getfixturevalue("real_data") / "bad")
    else:
        rows = {"inputs": tables.made_inputs, "specs": tables.hostile_specs}[name]()
    document = tables.DOCUMENT.read_text(encoding="utf-8")
    assert tables.stable(tables.replace(document, name, tables.table(rows))) == tables.stable(document)
