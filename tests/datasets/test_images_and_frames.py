"""Pictures to animate, and the file that holds the frames of many clips."""

import io

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from video_files import noise

from datasets.framefile import FramesWriter, read_frames
from datasets.images import image_files, read_image


def save(path, array, kind="PNG", **options):
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind, **options)
    path.write_bytes(data.getvalue())
    return path


def test_the_content_decides_the_format_not_the_suffix(tmp_path):
    picture = noise(1, 8, 12)[0]
    path = save(tmp_path / "boy.png", picture, "WEBP", lossless=True)
    np.testing.assert_array_equal(read_image(path), picture)


def test_grey_palette_and_transparent_pictures_become_rgb(tmp_path):
    grey = read_image(save(tmp_path / "g.png", np.full((4, 5), 7, np.uint8)))
    assert grey.shape == (4, 5, 3) and (grey == 7).all()
    clear = np.zeros((4, 5, 4), np.uint8)
    clear[:2] = (10, 20, 30, 255)
    over = read_image(save(tmp_path / "t.png", clear))
    assert (over[:2] == (10, 20, 30)).all() and (over[2:] == 255).all()


def test_a_photograph_is_turned_upright(tmp_path):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    upright = read_image(save(tmp_path / "p.jpg", picture, "JPEG", exif=exif))
    assert upright.shape == (32, 16, 3) and upright[:12].max() < 20 and upright[20:].min() > 235


def test_what_is_no_picture_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no")
    whole = save(tmp_path / "whole.png", noise(1, 64, 64)[0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    save(tmp_path / "tiff.png", noise(1)[0], "TIFF")
    for name in ("text.png", "cut.png", "tiff.png", "absent.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            read_image(tmp_path / name)
    monkeypatch.setattr("datasets.images.MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="64x64 is larger than 100 pixels"):
        read_image(tmp_path / "whole.png")


def test_images_of_a_folder_by_id(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.JPG", "c.txt"):
        (tmp_path / name).touch()
    assert list(image_files(tmp_path)) == ["b", "sub/a"]
    (tmp_path / "b.webp").touch()
    with pytest.raises(ValueError, match="two images have the id 'b'"):
        image_files(tmp_path)


def test_the_public_test_images(real_data):
    files = image_files(real_data / "prompts/256")
    assert list(files) == ["art", "bear", "boy", "dance1", "fire_and_beach", "girl2", "girl3", "guitar0"]
    assert all(read_image(path).shape[2] == 3 for path in files.values())


def test_frames_are_written_one_clip_at_a_time_and_read_by_safetensors(tmp_path):
    clips = noise(12).reshape(3, 4, 16, 24, 3)
    path = tmp_path / "clips.safetensors"
    with FramesWriter(path) as writer:
        for clip in clips:
            writer.append(clip)
    np.testing.assert_array_equal(load_file(path)["frames"], clips)
    np.testing.assert_array_equal(read_frames(path)[1:], clips[1:])


def test_frames_saved_by_safetensors_are_read_too(tmp_path):
    clips = noise(8).reshape(2, 4, 16, 24, 3)
    save_file({"frames": clips, "another": np.zeros(3)}, tmp_path / "f.safetensors")
    np.testing.assert_array_equal(read_frames(tmp_path / "f.safetensors"), clips)


def test_a_file_without_clips_is_a_file(tmp_path):
    with FramesWriter(tmp_path / "none.safetensors"):
        pass
    assert load_file(tmp_path / "none.safetensors")["frames"].shape == (0, 0, 0, 0, 3)
    assert len(read_frames(tmp_path / "none.safetensors")) == 0


def test_clips_of_another_shape_are_refused_and_leave_no_readable_file(tmp_path):
    path = tmp_path / "clips.safetensors"
    words = r"clip 1 is uint8 .4, 16, 16, 3.; expected uint8 .4, 16, 24, 3."
    with pytest.raises(ValueError, match=words), FramesWriter(path) as writer:
        writer.append(noise(4))
        writer.append(noise(4, 16, 16))
    with pytest.raises(SafetensorError):
        load_file(path)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_frames(path)


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "clips.safetensors"
    with FramesWriter(path) as writer:
        writer.append(noise(4))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="in full"):
        read_frames(path)
