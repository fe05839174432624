"""What does the procedural world look like as files? UCF-101, MSR-VTT and WebVid layouts, from a seed.

Videos are 4:2:0 at `SOURCE_FPS`: mpeg4 .avi (quantiser 2) for UCF-101, h264 .mp4 (crf 12) for the others. A
video's scene comes from a hash of (seed, data set, video id) alone, so a larger world holds the same videos
and more, and the same seed gives the same bytes: one encoder thread, bit-exact muxing, no dates.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from datasets.clip import Frames
from datasets.draws import generator
from datasets.files import read_text
from datasets.procedural import (
    CLASSES,
    HEIGHT,
    MAX_FRAMES,
    MOTIONS,
    SHAPES,
    SOURCE_FPS,
    WIDTH,
    Scene,
    captions,
    class_name,
    render,
    sample_scene,
    truth,
)

UCF101_TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}  # as in the official lists
MSRVTT_FIRST_ID = 7010  # the official test split is video7010 .. video9999
MSRVTT_CAPTIONS = 20
WEBVID_FIRST_ID = 1_000_000_001
WEBVID_PAGE = 50  # videos per page_dir
MPEG4 = ("mpeg4", {"flags": "+qscale+bitexact", "global_quality": str(2 * 118)})  # FF_QP2LAMBDA is 118
H264 = ("libx264", {"crf": "12", "preset": "superfast", "flags": "+bitexact"})

Progress = Callable[[int, int], None]
Job = tuple[str, str, Path, Scene]  # data set, video id, file, scene


@dataclass(frozen=True)
class WorldConfig:
    """Sizes of the world.

    `ucf101_groups` and `ucf101_clips` are per class and per group (the real one: 25 and 4-7).
    """

    train_videos: int = 1500
    ucf101_groups: int = 25
    ucf101_clips: int = 3
    msrvtt_videos: int = 400
    min_frames: int = 29
    max_frames: int = MAX_FRAMES

    def __post_init__(self) -> None:
        for name, least in {
            "train_videos": 1,
            "ucf101_groups": 8,
            "ucf101_clips": 1,
            "msrvtt_videos": 1,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"world.{name} is {getattr(self, name)}; allowed: {least} or more")
        if self.ucf101_groups > 99 or self.ucf101_clips > 99 or self.msrvtt_videos > 2990:
            raise ValueError(
                f"allowed: up to 99 groups, 99 clips, 2990 MSR-VTT videos (as the official names do): {self}"
            )
        if not 1 <= self.min_frames <= self.max_frames <= MAX_FRAMES:
            raise ValueError(
                f"world.min_frames and max_frames must satisfy 1 <= min <= max <= {MAX_FRAMES}: {self}"
            )


def write_world(root: Path, config: WorldConfig, seed: int, progress: Progress | None = None) -> None:
    """Writes root/train (WebVid layout), root/ucf101 and root/msrvtt, each with `truth.json` (id -> scene).

    Raises ValueError when `root` holds something already, or when a scene is in training and evaluation.
    """
    if root.is_dir() and any(root.iterdir()):
        raise ValueError(f"{root} is not empty")
    jobs = list(_train_jobs(root / "train", config, seed))
    jobs += _ucf101_jobs(root / "ucf101", config, seed)
    jobs += _msrvtt_jobs(root / "msrvtt", config, seed)
    for folder in sorted({path.parent for _, _, path, _ in jobs}):
        folder.mkdir(parents=True)
    scenes: dict[str, dict[str, Scene]] = {"train": {}, "ucf101": {}, "msrvtt": {}}
    for done, (dataset, name, path, scene) in enumerate(jobs, 1):
        frames = render(scene, _length(config, seed, dataset, name), HEIGHT, WIDTH)
        encode_video(path, frames, MPEG4 if path.suffix == ".avi" else H264)
        scenes[dataset][name] = scene
        if progress is not None:
            progress(done, len(jobs))
    _write_train_lists(root / "train", [j for j in jobs if j[0] == "train"], config, seed)
    _write_ucf101_lists(root / "ucf101" / "ucfTrainTestlist", list(scenes["ucf101"]))
    _write_msrvtt_lists(root / "msrvtt", scenes["msrvtt"], config, seed)
    for dataset, known in scenes.items():
        content = {name: truth(scene) for name, scene in known.items()}
        write_json(root / dataset / "truth.json", content)
    check_world(root)


def evaluation_ids(config: WorldConfig, seed: int, dataset: str) -> list[str]:
    """Ids of the videos that `write_world` writes for "ucf101" or "msrvtt", without writing them."""
    jobs = {"ucf101": _ucf101_jobs, "msrvtt": _msrvtt_jobs}[dataset]
    return [name for _, name, _, _ in jobs(Path(), config, seed)]


def encode_video(
    path: Path, frames: Frames, codec: tuple[str, dict[str, str]], fps: int = SOURCE_FPS
) -> None:
    """Writes uint8 (T, H, W, 3) frames as 4:2:0 video, the same bytes each time.

    A colour sample is the mean of its four pixels: with the default filter, edges bleed a tenth more.
    """
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec[0], rate=fps, options=codec[1])
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1
        convert = VideoReformatter()  # one for all frames: setting it up costs more than a small frame
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            halved = convert.reformat(picture, format="yuv420p", interpolation="AREA")
            container.mux(stream.encode(halved))
        container.mux(stream.encode())


def check_world(root: Path) -> None:
    """Raises ValueError when training and evaluation share a scene (every parameter equal) or a video id."""
    train = json.loads(read_text(root / "train" / "truth.json"))
    scenes = {json.dumps(scene, sort_keys=True): name for name, scene in train.items()}
    for dataset in ("ucf101", "msrvtt"):
        for name, scene in json.loads(read_text(root / dataset / "truth.json")).items():
            same = scenes.get(json.dumps(scene, sort_keys=True))
            if same is not None or name in train:
                raise ValueError(f"{root}: video {name} of {dataset} is also training video {same or name}")


def write_json(path: Path, content: object) -> None:
    """Writes JSON that is the same bytes for the same content."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")


def _length(config: WorldConfig, seed: int, dataset: str, name: str) -> int:
    rng = generator(seed, dataset, name, "length")
    return int(rng.integers(config.min_frames, config.max_frames + 1))


def _train_jobs(root: Path, config: WorldConfig, seed: int) -> Iterator[Job]:
    for number in range(config.train_videos):
        first = number // WEBVID_PAGE * WEBVID_PAGE + 1
        page, name = f"{first:06d}_{first + WEBVID_PAGE - 1:06d}", str(WEBVID_FIRST_ID + number)
        scene = sample_scene(generator(seed, "train", name, "scene"))
        yield "train", name, root / "videos" / page / f"{name}.mp4", scene


def _ucf101_jobs(root: Path, config: WorldConfig, seed: int) -> Iterator[Job]:
    """Clips of one group share their appearance, as clips of one recording do."""
    parts = {shape.capitalize() + motion: (shape, motion) for shape in SHAPES for motion in MOTIONS}
    for label in CLASSES:
        shape, motion = parts[label]
        for group in range(1, config.ucf101_groups + 1):
            like = sample_scene(generator(seed, "ucf101", label, group, "group"), shape, motion)
            for clip in range(1, config.ucf101_clips + 1):
                name = f"v_{label}_g{group:02d}_c{clip:02d}"
                scene = sample_scene(generator(seed, "ucf101", name, "scene"), shape, motion, like)
                yield "ucf101", name, root / "UCF-101" / label / f"{name}.avi", scene


def _msrvtt_jobs(root: Path, config: WorldConfig, seed: int) -> Iterator[Job]:
    for number in range(MSRVTT_FIRST_ID, MSRVTT_FIRST_ID + config.msrvtt_videos):
        scene = sample_scene(generator(seed, "msrvtt", f"video{number}", "scene"))
        yield "msrvtt", f"video{number}", root / "TestVideo" / f"video{number}.mp4", scene


def _captions(seed: int, dataset: str, name: str, scene: Scene, count: int) -> list[str]:
    return captions(scene, generator(seed, dataset, name, "captions"), count)


def _write_train_lists(root: Path, jobs: list[Job], config: WorldConfig, seed: int) -> None:
    rows = []
    for _, name, path, scene in jobs:
        length = _length(config, seed, "train", name) / SOURCE_FPS
        (text,) = _captions(seed, "train", name, scene, 1)
        rows.append([name, "", f"PT00H00M{round(length):02d}S", path.parent.name, text])
    _write_csv(root / "results_train.csv", ["videoid", "contentUrl", "duration", "page_dir", "name"], rows)


def _write_ucf101_lists(lists: Path, names: list[str]) -> None:
    """The official format: CRLF, the class index behind each training clip, none behind a test clip."""
    lists.mkdir()
    labels = sorted(CLASSES)
    _write_lines(lists / "classInd.txt", [f"{index} {label}" for index, label in enumerate(labels, 1)])
    for split, groups in UCF101_TEST_GROUPS.items():
        test, train = [], []
        for name in sorted(names):
            _, label, group, _ = name.split("_")
            line = f"{label}/{name}.avi"
            if int(group[1:]) in groups:
                test.append(line)
            else:
                train.append(f"{line} {labels.index(label) + 1}")
        _write_lines(lists / f"testlist0{split}.txt", test)
        _write_lines(lists / f"trainlist0{split}.txt", train)


def _write_msrvtt_lists(root: Path, scenes: dict[str, Scene], config: WorldConfig, seed: int) -> None:
    """`test_videodatainfo.json` with 20 captions a video; the first is the 1k-A list's sentence."""
    videos: list[dict[str, object]] = []
    sentences: list[dict[str, object]] = []
    pairs = []
    for index, (name, scene) in enumerate(scenes.items()):
        number = int(name.removeprefix("video"))
        lines = _captions(seed, "msrvtt", name, scene, MSRVTT_CAPTIONS)
        videos.append(_msrvtt_video(number, scene, _length(config, seed, "msrvtt", name)))
        for text in lines:
            sentences.append({"caption": text, "video_id": name, "sen_id": len(sentences)})
        if index < 1000:
            pairs.append([f"ret{index}", f"msr{number}", name, lines[0]])
    info = {"contributor": "procedural world", "version": "1.0", "year": "2016", "data_created": "",
            "description": "Videos drawn by a program, in the schema of MSR-VTT."}  # fmt: skip
    write_json(root / "test_videodatainfo.json", {"info": info, "videos": videos, "sentences": sentences})
    _write_csv(root / "MSRVTT_JSFUSION_test.csv", ["key", "vid_key", "video_id", "sentence"], pairs)
    _write_lines(root / "category.txt", [f"{label}\t{index}" for index, label in enumerate(CLASSES)], "\n")


def _msrvtt_video(number: int, scene: Scene, length: int) -> dict[str, object]:
    return {
        "category": CLASSES.index(class_name(scene)),
        "url": f"procedural:video{number}",
        "video_id": f"video{number}",
        "start time": 0.0,
        "end time": round(length / SOURCE_FPS, 3),
        "split": "test",
        "id": number,
    }


def _write_lines(path: Path, lines: list[str], end: str = "\r\n") -> None:
    path.write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
