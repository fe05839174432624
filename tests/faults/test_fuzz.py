"""Whatever a spec, profile, list, archive or checkpoint holds: it is read, or refused in words that name the file."""

import os
import re
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.profile import load_profile
from bench.spec import load_question
from datasets import folder, msrvtt, ucf101, webvid
from datasets.files import under_root
from models.checkpoint import open_official
from models.weights import load_tensors, read_card
from tests.faults import hostile

CASES = int(os.environ.get("FAULTS_CASES", "60"))  # of each test; `make faults` asks for 10 000 in all
SLOWEST = 5.0  # seconds that one case may take
fuzzed = settings(
    max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def attempt(read: Callable[[], object], expected: type[Exception]) -> Exception | None:
    """None when it was read; the refusal otherwise. Anything but `expected` comes through as it is."""
    began = time.monotonic()
    try:
        read()
    except expected as refusal:
        return refusal
    finally:
        assert time.monotonic() - began < SLOWEST
    return None


# ---- specs and profiles ----


def strictly(path: Path, data: bytes, read: Callable[[Path], object]) -> str:
    """Every message is one line that begins with file and line; "" when the file was read."""
    path.write_bytes(data)
    refusal = attempt(lambda: read(path), UsageError)
    if refusal is None:
        return ""
    assert isinstance(refusal, UsageError) and refusal.messages
    for message in refusal.messages:
        assert re.match(rf"{re.escape(str(path))}:[1-9]\d*: \S", message), message
        assert message.isprintable() and len(message) < 3000, message
    return refusal.messages[0].removeprefix(f"{path}:")


SPEC_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


@fuzzed
@given(hostile.soup(hostile.SPEC))
@example(hostile.GOOD_SPEC.encode())
def test_a_spec_is_read_or_refused_with_file_and_line(data: bytes) -> None:
    strictly(SPEC_FOLDER / "question.yaml", data, load_question)


@fuzzed
@given(hostile.soup(hostile.PROFILE))
def test_a_profile_is_read_or_refused_with_file_and_line(data: bytes) -> None:
    strictly(SPEC_FOLDER / "profile.yaml", data, lambda path: load_profile(str(path)))


@pytest.mark.parametrize("data", hostile.SPECS.values(), ids=hostile.SPECS)
@pytest.mark.parametrize("read", [load_question, lambda path: load_profile(str(path))], ids=["spec", "profile"])
def test_a_hostile_spec_is_refused(tmp_path: Path, data: bytes, read: Callable[[Path], object]) -> None:
    os.chdir(tmp_path)
    assert strictly(tmp_path / "question.yaml", data, read)
    assert [path.name for path in tmp_path.iterdir()] == ["question.yaml"], "something in it was run"


def test_a_path_in_a_profile_does_not_climb_out(tmp_path: Path) -> None:
    text = hostile.PROFILE.replace("vae: weights/tiny/vae", "vae: weights/../../secret")
    words = strictly(tmp_path / "profile.yaml", text.encode(), lambda path: load_profile(str(path)))
    assert "weights.vae is 'weights/../../secret.safetensors': a path may not climb out" in words


# ---- lists ----


def as_list(name: str, reader: Callable[[Path], object]) -> Callable[[bytes], str]:
    """Writes the list into a folder of its own and reads the data set."""

    def check(data: bytes) -> str:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "root"
            (root / "deep").mkdir(parents=True)
            for video in ("video7010.mp4", "1.mp4", "v_Biking_g05_c02.avi"):
                (root / "deep" / video).write_bytes(b"")
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            refusal = attempt(lambda: reader(root), ValueError)
            assert refusal is None or str(root) in str(refusal), refusal
            assert not isinstance(refusal, UnicodeError), refusal
            return "" if refusal is None else str(refusal).replace(str(root), "ROOT")

    return check


def _captions(root: Path) -> object:
    return folder.read(root, captions=root / "captions.csv")


def _json_captions(root: Path) -> object:
    return folder.read(root, captions=root / "captions.json")


LISTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "webvid csv": ("videos.csv", hostile.WEBVID, webvid.read),
    "1k-A csv": ("MSRVTT_JSFUSION_test.csv", hostile.JSFUSION, msrvtt.read),
    "msrvtt json": ("test_videodatainfo.json", hostile.MSRVTT, msrvtt.read),
    "captions csv": ("captions.csv", hostile.CAPTIONS, _captions),
    "captions json": ("captions.json", '{"deep/1": "a cat", "deep/video7010": "x"}', _json_captions),
    "ucf101 list": ("ucfTrainTestlist/testlist01.txt", hostile.LIST, ucf101.read),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_or_refused_by_its_name(name: str) -> None:
    file, sound, reader = LISTS[name]
    check = as_list(file, reader)
    assert check(sound.encode()) == ""

    @fuzzed
    @given(hostile.soup(sound))
    def fuzz(data: bytes) -> None:
        check(data)

    fuzz()


HOSTILE_LISTS = {
    "a path that climbs": ("webvid csv", b"videoid,name,page_dir\n1,a,../../etc\n", "leaves"),
    "an absolute path": ("webvid csv", b"videoid,name,page_dir\n1,a,/etc\n", "leaves"),
    "a path in an id": ("webvid csv", b"videoid,name,page_dir\n../../x,a,p\n", "leaves"),
    "a drive": ("webvid csv", b"videoid,name,page_dir\n1,a,C:\\x\n", "leaves"),
    "NUL in a path": ("webvid csv", b'videoid,name,page_dir\n1,a,"a\x00b"\n', "leaves|NUL"),
    "a name of 5000 letters": ("webvid csv", b"videoid,name,page_dir\n1,a," + b"x" * 5000 + b"\n", "5000|characters"),
    "a cell of a megabyte": ("webvid csv", b"videoid,name,page_dir\n1," + b"x" * 2**20 + b",p\n", "field"),
    "a number of 5000 digits": ("msrvtt json", b'{"videos": ' + b"9" * 5000 + b', "sentences": []}', "digits"),
    "nested 100000 deep": ("msrvtt json", b'{"videos": ' + b"[" * 100000, "recursion|JSON"),
    "a key twice": ("captions json", b'{"deep/1": "a", "deep/1": "b"}', "given twice"),
    "not UTF-8": ("captions csv", b"id,prompt\na,\xff\n", "not UTF-8"),
    "no list but a text": ("ucf101 list", b"../../etc/passwd 1\n", "names no clip"),
}


@pytest.mark.parametrize("name", HOSTILE_LISTS)
def test_a_hostile_list_is_refused(name: str) -> None:
    kind, data, words = HOSTILE_LISTS[name]
    file, _, reader = LISTS[kind]
    assert re.search(words, as_list(file, reader)(data))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop"])
def test_a_list_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "test_videodatainfo.json"
    {
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path.name),
    }[kind]()
    refusal = attempt(lambda: msrvtt.read(tmp_path), ValueError)
    assert kind == "folder" or str(path) in str(refusal)


@fuzzed
@given(st.text(max_size=30) | st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "C:", "\0"])).map("/".join))
def test_no_written_path_leaves_its_folder(value: str) -> None:
    root = Path("/srv/data")
    if attempt(lambda: under_root(root, value, "list.csv:1"), ValueError) is None:
        found = Path(os.path.normpath(under_root(root, value, "list.csv:1")))
        assert root in found.parents


def test_half_characters_and_control_characters_in_captions_become_text(tmp_path: Path) -> None:
    """JSON can spell half a character, which no file can hold; a terminal obeys control characters."""
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "captions.json").write_text('{"a": "half \\ud800 of it\\u001b[31m\\u0000"}')
    (video,) = folder.read(tmp_path, captions=tmp_path / "captions.json").videos
    assert video.captions == ("half \\ud800 of it [31m ",)
    assert video.captions[0].encode()


# ---- archives ----


@fuzzed
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_an_archive_is_read_or_refused_by_its_name(at: int, piece: bytes, cut: bool) -> None:
    whole = hostile.archive({hostile.NAME: hostile.MSRVTT.encode() * 3, "readme.txt": b"x" * 400})
    at %= len(whole)
    data = whole[:at] if cut else whole[:at] + piece + whole[at + len(piece) :]
    as_list("train_val_annotation.zip", msrvtt.read)(data)


def test_members_that_climb_out_are_read_in_memory_and_written_nowhere(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "train_val_annotation.zip").write_bytes(hostile.ARCHIVES["members that climb out"])
    (root / "video7010.mp4").write_bytes(b"")
    (video,) = msrvtt.read(root).videos
    assert video.captions == ("a cat",)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["root", "train_val_annotation.zip", "video7010.mp4"]


@pytest.mark.parametrize("name", ["not a zip", "cut short", "damaged inside"])
def test_a_damaged_archive_is_refused(name: str) -> None:
    assert "train_val_annotation.zip" in as_list("train_val_annotation.zip", msrvtt.read)(hostile.ARCHIVES[name])


def test_an_archive_that_swells_is_refused_at_its_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.files.MAX_TEXT_BYTES", 2**20)
    path = tmp_path / "train_val_annotation.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(hostile.NAME, b" " * 2**22)
    assert path.stat().st_size < 2**13
    refusal = attempt(lambda: msrvtt.read(tmp_path), ValueError)
    assert "is larger than 1048576 bytes" in str(refusal)


# ---- checkpoints ----


@pytest.mark.parametrize("read", [load_tensors, read_card, open_official])
@pytest.mark.parametrize("name", hostile.TENSORS)
def test_a_malformed_safetensors_file_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(hostile.TENSORS[name])
    refusal = attempt(lambda: read(path), ValueError)
    assert refusal is not None and str(path) in str(refusal)


@fuzzed
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_safetensors_file_is_read_or_refused_by_its_name(at: int, piece: bytes, cut: bool) -> None:
    whole = hostile._tensor()
    at %= len(whole)
    path = SPEC_FOLDER / "w.safetensors"
    path.write_bytes(whole[:at] if cut else whole[:at] + piece + whole[at + len(piece) :])
    for read in (load_tensors, read_card, open_official):
        refusal = attempt(lambda read=read: read(path), ValueError)
        assert refusal is None or str(path) in str(refusal)


KINDS = [
    "an object beside the state dict",
    "the format before zip files",
    "a bare pickle",
    "a pickle named safetensors",
]


@pytest.mark.parametrize("name", KINDS)
def test_a_malicious_pickle_is_refused_without_running(tmp_path: Path, name: str) -> None:
    sentinel = tmp_path / "was run"
    path = tmp_path / ("w.safetensors" if "safetensors" in name else "model.ckpt")
    path.write_bytes(hostile.pickles(sentinel)[name])
    refusal = attempt(lambda: open_official(path), ValueError)
    assert refusal is not None and str(path) in str(refusal)
    assert not sentinel.exists()


def test_the_malicious_pickle_would_have_run(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    import pickle

    sentinel = tmp_path / "was run"
    pickle.loads(hostile.pickles(sentinel)["a bare pickle"])
    assert sentinel.exists()


@fuzzed
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_checkpoint_is_read_or_refused_by_its_name(at: int, piece: bytes, cut: bool) -> None:
    whole = CHECKPOINT
    at %= len(whole)
    path = SPEC_FOLDER / "model.ckpt"
    path.write_bytes(whole[:at] if cut else whole[:at] + piece + whole[at + len(piece) :])
    refusal = attempt(lambda: open_official(path), ValueError)
    assert refusal is None or str(path) in str(refusal)


def _checkpoint() -> bytes:
    import io

    import torch

    out = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(2), "deep.b": torch.ones(3, dtype=torch.float16)}}, out)
    return out.getvalue()


CHECKPOINT = _checkpoint()
