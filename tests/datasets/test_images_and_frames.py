"""Pictures to animate, and the file that holds the frames of many clips."""

import io

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from video_files import noise

from datasets.framefile import FramesWriter, read_frames
from datasets.images import image_files, read_image, read_picture


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


def drawn(mode, size=(12, 8), **options):
    """A file of a mode: a red square on its left half."""
    image = Image.new("RGB", size, "white")
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image.convert(mode, **options)


MODES = {  # file name: (picture, what it is saved as, left pixel, right pixel, words)
    "p.gif": (lambda: drawn("P", palette=Image.Palette.ADAPTIVE), "GIF", (255, 0, 0), (255, 255, 255), "a palette"),
    "cmyk.jpg": (lambda: drawn("CMYK"), "JPEG", (254, 0, 0), (255, 255, 255), "converted from CMYK"),
    "la.png": (lambda: drawn("LA"), "PNG", (76, 76, 76), (255, 255, 255), None),
    "one.png": (lambda: drawn("1"), "PNG", None, (255, 255, 255), "converted from black and white"),
    "ycc.tif": (lambda: drawn("YCbCr"), "TIFF", (254, 0, 0), (255, 255, 255), "converted from YCbCr"),
    "named.png": (lambda: drawn("RGB"), "WEBP", None, None, "a WEBP file whatever its name says"),
    "plain.bmp": (lambda: drawn("RGB"), "BMP", (255, 0, 0), (255, 255, 255), None),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb_and_says_so(tmp_path, name):
    make, kind, left, right, words = MODES[name]
    make().save(tmp_path / name, kind)
    found = read_picture(tmp_path / name)
    assert found.frame.shape == (8, 12, 3) and found.frame.dtype == np.uint8
    for x, wanted in ((1, left), (10, right)):
        assert wanted is None or np.abs(found.frame[4, x].astype(int) - wanted).max() <= 2
    assert any(words in note for note in found.notes) if words else found.notes == ()
    np.testing.assert_array_equal(read_image(tmp_path / name), found.frame)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_cut_off(tmp_path, kind):
    levels = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "deep.png", kind)
    found = read_picture(tmp_path / "deep.png")
    np.testing.assert_array_equal(found.frame[..., 0].ravel(), np.arange(256))  # Pillow alone makes nearly all white
    assert "grey of 16 bits scaled to 8" in found.notes


def test_floating_point_pictures_are_scaled_by_their_range(tmp_path):
    for top in (1.0, 255.0):
        values = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
        values[0, 0] = np.nan
        Image.fromarray(values).save(tmp_path / "f.tif", "TIFF")
        np.testing.assert_array_equal(read_image(tmp_path / "f.tif")[..., 2].ravel(), np.arange(256))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_is_taken(tmp_path, kind):
    frames = [Image.new("RGB", (12, 8), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.bin", kind, save_all=True, append_images=frames[1:], lossless=True)
    found = read_picture(tmp_path / "a.bin")
    assert np.abs(found.frame.astype(int) - (255, 0, 0)).max() <= 2
    assert "the first of 3 pictures" in found.notes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_are_undone(tmp_path, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = 255  # bright at the top left
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that makes what the tag tells to undo
    image = Image.fromarray(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(Image.Transpose(turn[orientation])) if orientation > 1 else image
    stored.save(tmp_path / "p.png", exif=exif)
    found = read_picture(tmp_path / "p.png")
    np.testing.assert_array_equal(found.frame, upright)
    assert ("turned upright as its EXIF data says" in found.notes) == (orientation > 1)


def test_damaged_metadata_do_not_lose_the_picture(tmp_path):
    picture = noise(1, 8, 12)[0]
    save(tmp_path / "p.png", picture, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff\x01")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), picture)


def test_a_huge_photograph_is_decoded_smaller_and_anything_else_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.images.MAX_PIXELS", 64 * 48)
    drawn("RGB", (160, 120)).save(tmp_path / "huge.jpg", quality=95)
    found = read_picture(tmp_path / "huge.jpg")
    assert found.frame.shape == (30, 40, 3) and found.notes == ("160x120 decoded at 1/4",)
    with pytest.raises(ValueError, match="160x120 is larger than 3072 pixels"):
        read_image(tmp_path / "huge.jpg")
    drawn("RGB", (160, 120)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="160x120 is larger than 3072 pixels"):
        read_picture(tmp_path / "huge.png")
    drawn("RGB", (1600, 160)).save(tmp_path / "beyond.jpg")
    with pytest.raises(ValueError, match="1600x160 is larger"):
        read_picture(tmp_path / "beyond.jpg")


def test_what_is_no_picture_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no")
    whole = save(tmp_path / "whole.png", noise(1, 64, 64)[0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    save(tmp_path / "tga.png", noise(1)[0], "TGA")
    for name in ("text.png", "cut.png", "tga.png", "absent.png"):
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
