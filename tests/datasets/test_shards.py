"""Tar shards: what goes in comes out, the same bytes each time, bad files by name, nothing executed, nothing grown."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.clip import Video
from datasets.lanes import Lane, Order
from datasets.make_shards import Making, make_shards
from datasets.shards import MANIFEST, NETWORK, Sample, Shard, Shards, listed, read_samples, read_shards
from datasets.webvid import read, stream_videos

pytest.importorskip("webdataset", reason="the extra [shards] is not installed")
ROOT = Path(__file__).resolve().parents[2]


def tables(root: Path) -> list[Path]:
    return sorted(root.glob("*.csv"))


def made(source: Path, out: Path, **asked: object) -> list[str]:
    said: list[str] = []
    make_shards(Making(tables(source), source, out, **{"size": 3, **asked}), said.append)  # type: ignore[arg-type]
    return said


def samples(out: Path) -> list[Sample]:
    shards = read_shards(out)
    return [sample for shard in shards.shards for sample in read_samples(shards, shard)]


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def check_round_trip(source: Path, out: Path) -> None:
    """Every video of a WebVid folder is in the shards, byte by byte, with its caption."""
    made(source, out)
    videos = {video.id: video for video in read(source).videos}
    found = samples(out)
    assert sorted(sample.video.id for sample in found) == sorted(videos)
    for sample in found:
        assert sample.data == videos[sample.video.id].path.read_bytes()
        assert sample.video.captions == videos[sample.video.id].captions
    assert [(s.video.id, len(s.data)) for s in found] == [(name, size) for name, size, _ in listed(read_shards(out))]


def test_what_goes_in_comes_out(world: Path, tmp_path: Path) -> None:
    check_round_trip(world / "train", tmp_path / "shards")


@pytest.mark.skipif("BENCH_TEST_DATA" not in os.environ, reason="BENCH_TEST_DATA names no folder of real clips")
def test_real_webvid_rows_and_clips(tmp_path: Path) -> None:
    check_round_trip(Path(os.environ["BENCH_TEST_DATA"]) / "webvid", tmp_path / "shards")


def test_the_same_bytes_each_time_with_any_number_of_workers(world: Path, tmp_path: Path) -> None:
    made(world / "train", tmp_path / "a")
    time.sleep(1.1)  # tar counts whole seconds
    copy = shutil.copytree(world / "train", tmp_path / "elsewhere")
    made(copy, tmp_path / "b", workers=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    with tarfile.open(tmp_path / "a" / "shard-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.uname, m.isreg()) for m in tar.getmembers()} == {(0, 0, "", True)}


def test_a_run_that_was_stopped_goes_on(world: Path, tmp_path: Path) -> None:
    made(world / "train", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in (MANIFEST, "shard-000001.json"):
        (tmp_path / "b" / name).unlink()
    (tmp_path / "b" / "shard-000001.tar").write_bytes(b"half")
    before = (tmp_path / "b" / "shard-000000.tar").stat().st_mtime_ns
    said = made(world / "train", tmp_path / "b")
    assert [line.split(":")[0] for line in said] == ["shard-000001.tar"], "the others were there"
    assert (tmp_path / "b" / "shard-000000.tar").stat().st_mtime_ns == before
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_other_rows_or_sizes_are_made_again(world: Path, tmp_path: Path) -> None:
    made(world / "train", tmp_path / "a")
    assert not [line for line in made(world / "train", tmp_path / "a") if line.startswith("shard-")]
    said = made(world / "train", tmp_path / "a", size=5)
    assert len([line for line in said if line.startswith("shard-")]) == len(read_shards(tmp_path / "a").shards) == 3
    assert len(samples(tmp_path / "a")) == len(read(world / "train").videos)
    assert said[-1].startswith("1 tars of an earlier cut are not in shards.json") and "shard-000003.tar" in said[-1]


def test_bad_files_are_set_aside_by_name_and_counted(world: Path, tmp_path: Path) -> None:
    source = shutil.copytree(world / "train", tmp_path / "w")
    whole = len(read(source).videos)
    first, second, third = (video.path for video in read(source).videos[:3])
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:2000])
    third.unlink()
    said = made(source, tmp_path / "shards")
    bad = [line for line in said if line.startswith("set aside")]
    assert len(bad) == 2 and any(first.name in line and "empty file" in line for line in bad)
    manifest = json.loads((tmp_path / "shards" / MANIFEST).read_text())
    assert (manifest["samples"], manifest["set_aside"], manifest["missing"]) == (whole - 3, 2, 1)
    assert len(samples(tmp_path / "shards")) == whole - 3
    assert len(read_shards(tmp_path / "shards").notes) == 2


def test_a_changed_shard_is_not_trained_on(world: Path, tmp_path: Path) -> None:
    made(world / "train", tmp_path / "s")
    path = tmp_path / "s" / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-000001\.tar is not what shards\.json says"):
        samples(tmp_path / "s")
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(ValueError, match=r"shard-000001\.tar"):
        samples(tmp_path / "s")


REFUSED = {
    "a command as name": ({"name": "pipe:touch ran"}, "it would run a command"),
    "a path as name": ({"name": "../up.tar"}, "allowed: the name of a .tar file beside the manifest"),
    "an address as name": ({"name": "https://example.invalid/a.tar"}, "Addresses go under 'at'"),
    "a count of words": ({"samples": "many"}, "whole numbers from 0 were expected"),
    "a wrong digest": ({"sha256": "0"}, "64 hexadecimal digits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_manifest_may_name_files_beside_it_and_nothing_else(case: str, tmp_path: Path) -> None:
    change, words = REFUSED[case]
    entry = {"name": "a.tar", "samples": 1, "bytes": 1, "sha256": "0" * 64, **change}
    (tmp_path / MANIFEST).write_text(json.dumps({"schema": 1, "shards": [entry]}))
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        read_shards(tmp_path)
    assert not (ROOT / "ran").exists() and not (tmp_path / "ran").exists()


ADDRESSES = ["pipe:touch ran", "file:///etc", "http://example.invalid/x", "s3://b/$(id)|x", "s3://b::file:///etc", 5]


@pytest.mark.parametrize("at", ADDRESSES)
def test_only_object_stores_are_addresses(at: object, tmp_path: Path) -> None:
    entry = {"name": "a.tar", "samples": 1, "bytes": 1, "sha256": "0" * 64}
    (tmp_path / MANIFEST).write_text(json.dumps({"schema": 1, "at": at, "shards": [entry]}))
    with pytest.raises(ValueError, match=r"allowed: s3://\.\.\."):
        read_shards(tmp_path)


def test_an_object_store_is_read_where_that_is_allowed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Bucket(LocalFileSystem):  # stands for s3fs, which is not installed and would need a network
        protocol = "s3"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(tmp_path / str(path).removeprefix("s3://"))

    made(world / "train", tmp_path / "bucket" / "set")
    expected = [sample.data for sample in samples(tmp_path / "bucket" / "set")]
    here = tmp_path / "here"
    here.mkdir()
    manifest = json.loads((tmp_path / "bucket" / "set" / MANIFEST).read_text())
    (here / MANIFEST).write_text(json.dumps({**manifest, "at": "s3://bucket/set"}))
    with pytest.raises(ValueError, match=f"no connection leaves this machine unless {NETWORK}=yes"):
        samples(here)
    fsspec.register_implementation("s3", Bucket, clobber=True)
    monkeypatch.setenv(NETWORK, "yes")
    assert [sample.data for sample in samples(here)] == expected


def test_only_plain_tars_are_read_and_nothing_in_them_is_unpickled(tmp_path: Path) -> None:
    import gzip
    import pickle

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (
            ("a.json", json.dumps({"id": "v", "caption": "c"}).encode()),
            ("a.pyd", pickle.dumps(_Touch(str(tmp_path / "ran")))),
            ("a.mp4", b"video"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    for name, data in (("plain.tar", buffer.getvalue()), ("packed.tar", gzip.compress(buffer.getvalue()))):
        (tmp_path / name).write_bytes(data)
        shard = Shard(name, 1, len(data), hashlib.sha256(data).hexdigest())
        shards = Shards(tmp_path, (shard,), "")
        if name == "plain.tar":
            (found,) = read_samples(shards, shard)
            assert (found.video.id, found.data) == ("v", b"video")
        else:
            with pytest.raises(ValueError, match="not a plain tar file"):
                list(read_samples(shards, shard))
    assert not (tmp_path / "ran").exists()


def test_a_few_bytes_do_not_unpack_to_many(tmp_path: Path) -> None:
    import gzip

    packed = io.BytesIO()
    with gzip.GzipFile("x" * 247 + "ustar", "wb", fileobj=packed) as file:  # the name stands where a tar says "ustar"
        file.write(bytes(1 << 20))
    assert packed.getvalue()[257:262] == b"ustar"
    hole = tarfile.TarInfo("a.mp4")
    hole.type, hole.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(hole.tobuf(tarfile.GNU_FORMAT))
    head[483:495] = b"%011o\0" % (1 << 30)  # its size once the holes are filled
    head[148:156] = b"%06o\0 " % sum(head[:148] + b" " * 8 + head[156:])
    for name, data in (("packed.tar", packed.getvalue()), ("holes.tar", bytes(head) + bytes(1024))):
        (tmp_path / name).write_bytes(data)
        shard = Shard(name, 1, len(data), hashlib.sha256(data).hexdigest())
        with pytest.raises(ValueError, match=r"cannot be read: .*(with holes|header)"):
            list(read_samples(Shards(tmp_path, (shard,), ""), shard))


def test_a_list_that_holds_anything_else_is_named(tmp_path: Path) -> None:
    shard = Shard("a.tar", 1, 0, "0" * 64)
    (tmp_path / "a.json").write_text(json.dumps({"sha256": "0" * 64, "items": [7]}))
    with pytest.raises(ValueError, match=r"a.json: items holds 7; \[id, bytes, sha256\] was expected"):
        list(listed(Shards(tmp_path, (shard,), "")))


def test_ctrl_c_waits_for_a_video_and_not_for_a_shard(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import make_shards as module

    begun, looked = threading.Event(), []

    def slow(path: Path, check: str) -> str:
        if len(looked) >= 2:  # in the second shard
            begun.set()
            time.sleep(0.2)
        looked.append(path)
        return ""

    def stopped(line: str) -> None:
        assert begun.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "unusable", slow)
    with pytest.raises(KeyboardInterrupt):
        make_shards(Making(tables(world / "train"), world / "train", tmp_path, size=2), stopped)
    assert len(looked) == 3 and not list(tmp_path.glob("shard-000001.*"))


def test_two_at_once_do_not_write_one_folder(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.cli import main
    from bench.locks import Lock

    asked = ["shards", *map(str, tables(world / "train")), "--videos", str(world / "train"), "--out"]
    with Lock(tmp_path / ".lock"):
        assert main([*asked, str(tmp_path)]) == 1
    assert "is making shards there" in capsys.readouterr().err
    assert main([*asked, str(tables(world / "train")[0])]) == 2
    assert "it is a file; allowed is a folder" in capsys.readouterr().err


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, (self.path,))


def test_a_csv_is_read_row_by_row(world: Path, tmp_path: Path) -> None:
    rows = list(stream_videos(tables(world / "train"), world / "train"))
    assert sorted(v.id for v in rows) == [v.id for v in read(world / "train").videos]
    (tmp_path / "bad.csv").write_text("videoid,name\n1,x\n")
    with pytest.raises(ValueError, match="page_dir were expected"):
        list(stream_videos([tmp_path / "bad.csv"], tmp_path))
    (tmp_path / "up.csv").write_text("videoid,name,page_dir\n1,x,../../etc\n")
    with pytest.raises(ValueError, match=r"leaves"):
        list(stream_videos([tmp_path / "up.csv"], tmp_path))


# ---- the order of a stream ----


def toy(counts: list[int]) -> Shards:
    return Shards(Path("toy"), tuple(Shard(f"s{k}.tar", n, 0, "0" * 64) for k, n in enumerate(counts)), "")


class Reading:
    """Stands for tars: counts which shards are opened, and up to where they are read."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, shards: Shards, shard: Shard) -> Iterator[Sample]:
        self.opened.append(shard.name)
        for k in range(shard.samples):
            yield Sample(Video(f"{shard.name}/{k}", Path("x.mp4")), b"")


@pytest.mark.parametrize(("counts", "lanes"), [([5, 4, 7, 3, 6], 2), ([9, 4], 3), ([1, 0, 2], 3), ([30], 1)])
def test_an_epoch_of_all_lanes_is_every_sample_once(counts: list[int], lanes: int) -> None:
    order = Order(toy(counts), lanes, 4, seed=1)
    every = sorted(f"s{k}.tar/{n}" for k, count in enumerate(counts) for n in range(count))
    for epoch in (0, 1, 5):
        found = []
        for number in range(lanes):
            lane = Lane(order, number, Reading())
            start = next(p for p in range(10_000) if lane.place(p).epoch == epoch)
            length = sum(part.count for part in order.parts(number, epoch))
            seen = [lane.sample(p) for p in range(start, start + length)]
            assert {e for _, e in seen} == {epoch}
            found += [sample.video.id for sample, _ in seen]
        assert sorted(found) == every


def test_a_stream_goes_on_anywhere_and_opens_one_shard_for_it() -> None:
    order = Order(toy([50] * 8), 2, 10, seed=3)
    whole = [Lane(order, 1, Reading()).sample(0)[0].video.id]
    lane = Lane(order, 1, Reading())
    whole = [lane.sample(p)[0].video.id for p in range(450)]
    assert len(set(whole[:200])) == 200 and whole[:200] != whole[200:400], "each epoch in an order of its own"
    for position in (0, 3, 119, 203, 449):
        reading = Reading()
        assert Lane(order, 1, reading).sample(position)[0].video.id == whole[position]
        assert len(reading.opened) == 1
    other = Order(toy([50] * 8), 2, 10, seed=4)
    assert [Lane(other, 1, Reading()).sample(p)[0].video.id for p in range(20)] != whole[:20]


def test_lanes_share_no_shard_and_windows_are_shuffled() -> None:
    order = Order(toy([20] * 6), 3, 10, seed=0)
    opened = []
    for number in range(3):
        reading = Reading()
        lane = Lane(order, number, reading)
        ids = [lane.sample(p)[0].video.id for p in range(40)]
        opened.append(set(reading.opened))
        assert len(reading.opened) == 2 and ids != sorted(ids)
        places = [int(name.split("/")[1]) for name in ids[:10]]
        assert sorted(places) == list(range(10)) and places != list(range(10))
    assert not opened[0] & opened[1] | opened[1] & opened[2] | opened[0] & opened[2]


def test_too_few_samples_for_the_lanes_is_said() -> None:
    with pytest.raises(ValueError, match="2 samples for 3 lanes"):
        Order(toy([1, 1]), 3, 4, 0)


MEMORY = """
import sys
from pathlib import Path
from datasets.lanes import Lane, Order
from datasets.shards import read_shards
shards = read_shards(Path(sys.argv[1]))
lane = Lane(Order(shards, 1, 64, 0), 0)
for position in range(0, len(shards)):
    lane.sample(position)
resident = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(len(shards), resident)
"""


def synthetic(folder: Path, count: int, per_shard: int = 1000) -> Path:
    """Shards of tiny samples: only their number matters."""
    folder.mkdir()
    entries = []
    for start in range(0, count, per_shard):
        name = f"shard-{start // per_shard:06d}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for k in range(start, min(start + per_shard, count)):
                for suffix, data in (("json", json.dumps({"id": f"v{k}", "caption": "c"}).encode()), ("mp4", b"x")):
                    member = tarfile.TarInfo(f"{k:010d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        data = (folder / name).read_bytes()
        told = {"name": name, "samples": min(per_shard, count - start), "bytes": len(data)}
        entries.append({**told, "sha256": hashlib.sha256(data).hexdigest()})
    (folder / MANIFEST).write_text(json.dumps({"schema": 1, "shards": entries}))
    return folder


def peak(folder: Path) -> int:
    """Kilobytes of the process at their highest, reading every sample once."""
    done = subprocess.run([sys.executable, "-c", MEMORY, folder], capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout.split()[1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    few, many = peak(synthetic(tmp_path / "few", 2_000)), peak(synthetic(tmp_path / "many", 100_000))
    print(f"2 000 samples: {few / 1e3:.1f} MB, 100 000: {many / 1e3:.1f} MB")
    assert many < few + 10_000, "a line for each of 100 shards, nothing for each sample"
