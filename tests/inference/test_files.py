"""Pictures from files, whole or refused; into files, whole or not at all."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageOps

from raincleave.errors import ImageError
from raincleave.inference.files import decode, left_out, read, save
from raincleave.inference.images import to_tensor


@pytest.fixture
def photo() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))


def test_unreadable_files_are_named(tmp_path, photo):
    photo.save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "header.png").write_bytes(whole[:20])
    (tmp_path / "empty.png").touch()
    pillow_heif.from_pillow(photo).save(tmp_path / "whole.heic")
    heic = (tmp_path / "whole.heic").read_bytes()
    (tmp_path / "half.heic").write_bytes(heic[: len(heic) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "no pixels.ppm").write_bytes(b"P6 0 5 255\n")
    sentences = {
        "missing.png": "does not exist",
        "": "is a folder",
        "empty.png": "is empty",
        "text.png": "is not an image",
        "truncated.png": "truncated",
        "half.heic": "truncated",
        "header.png": "header.png (is not|cannot)",
        "no pixels.ppm": "no pixels.ppm (is not|cannot|has no)",
    }
    for name, sentence in sentences.items():
        with pytest.raises(ImageError, match=sentence) as caught:
            to_tensor(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_truncated_pillow_image_is_named(tmp_path, photo):
    photo.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"a\.jpg cannot be read, it is truncated"):
        to_tensor(Image.open(tmp_path / "a.jpg"))


def test_decompression_bomb(tmp_path, photo, monkeypatch):
    photo.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"a\.png has more pixels .*MAX_IMAGE_PIXELS"):
        read(tmp_path / "a.png")


def test_half_a_bomb_opens_without_a_warning(tmp_path, photo, monkeypatch, recwarn):
    photo.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 40 - 1)
    assert read(tmp_path / "a.png").size == (48, 40)
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".heic"])
def test_saved_with_its_metadata(tmp_path, photo, suffix):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    exif[0x8769] = {0x829A: 0.5}
    pillow_heif.register_heif_opener()
    photo.save(tmp_path / f"a{suffix}", exif=exif.tobytes(), icc_profile=b"a profile")
    tensor, restore = to_tensor(tmp_path / f"a{suffix}")
    save(restore(tensor), tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as again:
        assert again.size == (40, 48)
        assert again.info["icc_profile"] == b"a profile"
        assert again.getexif().get(0x010F) == "Maker"
        assert again.getexif().get(0x0112, 1) == 1
        assert again.getexif().get_ifd(0x8769)[0x829A] == 0.5


def test_resolution_and_lossless_compression_are_kept(tmp_path, photo):
    photo.save(tmp_path / "a.tif", compression="tiff_lzw", dpi=(300, 300))
    tensor, restore = to_tensor(tmp_path / "a.tif")
    save(restore(tensor), tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as again:
        assert again.info["compression"] == "tiff_lzw"
        assert again.info["dpi"] == (300, 300)
        assert again.tobytes() == photo.tobytes()


@pytest.mark.parametrize(
    "values", [np.uint16([[0, 1, 30000, 65535]]), np.uint8([[0, 1, 254, 255]])]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_depth_survives_the_files(tmp_path, values, suffix):
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    tensor, restore = to_tensor(tmp_path / f"a{suffix}")
    save(restore(tensor), tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as again:
        assert np.array_equal(np.asarray(again), values)


def test_lossy_tiff_is_saved_without_further_loss(tmp_path, photo):
    photo.save(tmp_path / "a.tif", compression="jpeg")
    tensor, restore = to_tensor(tmp_path / "a.tif")
    derained = restore(tensor)
    save(derained, tmp_path / "b.tif")
    with Image.open(tmp_path / "b.tif") as again:
        assert again.tobytes() == derained.tobytes()


def test_palette_gif_comes_out_as_a_gif(tmp_path):
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 4, 8))
    image.save(tmp_path / "a.gif", transparency=0)
    tensor, restore = to_tensor(tmp_path / "a.gif")
    save(restore(tensor), tmp_path / "b.gif")
    with Image.open(tmp_path / "b.gif") as again:
        assert again.convert("RGBA").getpixel((0, 0)) == (200, 100, 50, 255)
        assert again.convert("RGBA").getpixel((7, 0))[3] == 0


@pytest.mark.parametrize("suffix", [".jpg", ".heic"])
def test_saved_with_little_loss(tmp_path, photo, suffix):
    save(photo, tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as again:
        error = np.asarray(again).astype(float) - np.asarray(photo)
    assert (error**2).mean() < 30  # noise at Pillow's own settings: above 1000


@pytest.mark.parametrize(
    ("mode", "name", "sentence"),
    [
        ("RGB", "a.xyz", r"a\.xyz cannot be written: \.xyz names no image format"),
        ("RGB", "a", "no suffix names no image format"),
        ("RGBA", "a.jpg", r"a\.jpg cannot be written: cannot write mode RGBA as JPEG"),
        ("RGB", "missing/a.png", "No such file or directory"),
        ("I;16", "a.webp", r"a\.webp cannot be written: WEBP holds 8 bits, the picture more"),
        ("CMYK", "a.png", r"cannot write mode CMYK as PNG; another suffix, such as \.tif, may do"),
        ("F", "a.gif", r"mode F\); another suffix, such as \.tif, may do\."),
    ],
)
def test_refused_writes_leave_nothing(tmp_path, mode, name, sentence):
    with pytest.raises(ImageError, match=sentence):
        save(Image.new(mode, (3, 2)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_profile_goes_with_the_colours_it_is_for(tmp_path):
    for space, mode in ((b"CMYK", "CMYK"), (b"GRAY", "L"), (b"RGB ", "RGB")):
        image = Image.new(mode, (3, 2))
        image.info["icc_profile"] = bytes(16) + space + bytes(108)
        for suffix in (".webp", ".tif"):
            save(image, tmp_path / f"a{suffix}")
            with Image.open(tmp_path / f"a{suffix}") as again:
                assert ("icc_profile" in again.info) == (again.mode == mode)


def test_failed_write_keeps_the_old_file(tmp_path, photo, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")

    def half(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(ImageError, match=r"a\.png cannot be written: No space left on device\."):
        save(photo, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_heic_is_told_by_its_content(tmp_path, photo):
    pillow_heif.from_pillow(photo).save(tmp_path / "a.heic", quality=-1, chroma=444)
    (tmp_path / "renamed.jpg").write_bytes((tmp_path / "a.heic").read_bytes())
    # A process of its own, in which nothing has told Pillow of HEIC.
    script = (
        "import sys, numpy as np; from raincleave.inference.files import decode, read, save;"
        "image = read(sys.argv[1]); save(image, sys.argv[2]); print(image.format, *image.size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "renamed.jpg", tmp_path / "b.png"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["HEIF", "48", "40"]
    with Image.open(tmp_path / "b.png") as again:
        error = np.asarray(again).astype(float) - np.asarray(photo)
    assert (error**2).mean() < 2  # lossless but for YCbCr


def test_heic_without_its_package_says_what_to_install(tmp_path, photo, monkeypatch):
    pillow_heif.from_pillow(photo).save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    advice = r"HEIC needs pillow-heif, .* pip install 'raincleave\[heic\]' brings it\.$"
    with pytest.raises(ImageError, match=r"a\.heic cannot be read: " + advice):
        read(tmp_path / "a.heic")
    with pytest.raises(ImageError, match=r"b\.heic cannot be written: " + advice):
        save(photo, tmp_path / "b.heic")
    assert not (tmp_path / "b.heic").exists()


def test_exif_that_cannot_be_read_is_left_out(tmp_path, photo):
    photo.save(tmp_path / "whole.jpg", dpi=(72, 72))
    whole = (tmp_path / "whole.jpg").read_bytes()
    for place in (20, 2):  # behind the JFIF header, which tells the resolution, and in its stead
        garbage = b"\xff\xe1\x00\x11Exif\0\0garbage!!"
        (tmp_path / "odd.jpg").write_bytes(whole[:place] + garbage + whole[20:])
        picture = read(tmp_path / "odd.jpg")
        assert np.array_equal(picture, read(tmp_path / "whole.jpg"))
        save(picture, tmp_path / "again.jpg")
        assert not Image.open(tmp_path / "again.jpg").getexif()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_although_its_other_tags_are_odd(orientation, photo):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo.info["exif"] = exif.tobytes()
    expected = ImageOps.exif_transpose(photo)
    odd = photo.copy()
    odd.getexif()[ExifTags.Base.Orientation] = orientation
    odd.info["exif"] = b"Exif\0\0garbage!"
    assert np.array_equal(decode(odd, "odd"), expected)


@pytest.mark.parametrize("dpi", [(1e10, 1e10), (float("nan"), 72), (0, 0), (-1, 72)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_an_impossible_resolution_is_left_out(tmp_path, photo, dpi, suffix):
    photo.info["dpi"] = dpi
    save(photo, tmp_path / f"dry{suffix}")
    assert Image.open(tmp_path / f"dry{suffix}").size == photo.size


def test_more_exif_than_a_jpeg_holds_is_left_out(tmp_path, photo):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "rain " * 14_000
    photo.info["exif"] = exif.tobytes()
    save(photo, tmp_path / "dry.jpg")
    save(photo, tmp_path / "dry.png")
    assert not Image.open(tmp_path / "dry.jpg").getexif()
    assert len(Image.open(tmp_path / "dry.png").getexif()) == 1


def test_colours_of_16_bits_are_told(tmp_path):
    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    for kind, channels, code in (("colour", 3, 2), ("grey", 1, 0)):
        head = struct.pack(">IIBBBBB", 4, 3, 16, code, 0, 0, 0)
        rows = (b"\0" + np.full(4 * channels, 40000, ">u2").tobytes()) * 3
        parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
        content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
        (tmp_path / f"{kind}.png").write_bytes(content)
    assert read(tmp_path / "colour.png").mode == "RGB"
    assert left_out(tmp_path / "colour.png") == ["Its 16-bit colours are read as 8 bits."]
    assert read(tmp_path / "grey.png").mode == "I;16"
    assert left_out(tmp_path / "grey.png") == []
    Image.new("RGB", (1600, 16)).save(tmp_path / "plain.tif", compression="tiff_lzw")
    assert left_out(tmp_path / "plain.tif") == []
