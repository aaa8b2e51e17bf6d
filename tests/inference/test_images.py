"""Any image in, the same kind out, with known values on both ways."""

import numpy as np
import pytest
import torch
from PIL import Image

from raincleave.errors import ImageError
from raincleave.inference.images import to_tensor

SIZE = (7, 5)  # width, height
UNCHANGED = ["1", "L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"]
UNCHANGED += ["I;16", "I;16L", "I;16B", "I;16N", "I"]


def noise(mode: str) -> Image.Image:
    """A picture that uses every value of its mode, from a fixed seed."""
    rng = np.random.default_rng(0)
    if mode == "I":
        return Image.fromarray(rng.integers(0, 65536, SIZE[::-1], dtype=np.int32))
    length = len(Image.new(mode, SIZE).tobytes())
    return Image.frombytes(mode, SIZE, rng.integers(0, 256, length, dtype=np.uint8).tobytes())


def round_trip(image):
    tensor, restore = to_tensor(image)
    return restore(tensor)


@pytest.mark.parametrize("mode", UNCHANGED)
def test_pillow_identity_is_exact(mode):
    image = noise(mode)
    before = image.tobytes()
    tensor, restore = to_tensor(image)
    result = restore(tensor)
    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (result.mode, result.size) == (mode, SIZE)
    assert result.tobytes() == before
    assert image.tobytes() == before


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 255, (1, 1, 1)),
        ("L", 51, (0.2, 0.2, 0.2)),
        ("LA", (51, 9), (0.2, 0.2, 0.2)),
        ("RGB", (0, 51, 255), (0, 0.2, 1)),
        ("RGBA", (0, 51, 255, 0), (0, 0.2, 1)),
        ("CMYK", (255, 0, 0, 0), (0, 1, 1)),
        ("CMYK", (0, 0, 0, 204), (0.2, 0.2, 0.2)),
        ("HSV", (0, 0, 51), (0.2, 0.2, 0.2)),
        ("YCbCr", (51, 128, 128), (0.2, 0.2, 0.2)),
        ("I;16", 13107, (0.2, 0.2, 0.2)),
        ("I;16B", 13107, (0.2, 0.2, 0.2)),
        ("I", 13107, (0.2, 0.2, 0.2)),
        ("F", 0.25, (0.25, 0.25, 0.25)),
    ],
)
def test_pillow_values(mode, colour, expected):
    tensor, _ = to_tensor(Image.new(mode, (1, 1), colour))
    assert tensor.flatten().tolist() == pytest.approx(expected, abs=1e-7)


def test_float_pillow_identity_is_exact():
    values = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    result = round_trip(Image.fromarray(values))
    assert result.mode == "F"
    assert np.array_equal(np.asarray(result), values)


def test_grey_is_the_mean_of_the_derained_colours():
    _, restore = to_tensor(Image.new("L", (1, 1), 77))
    derained = torch.tensor([0.1, 0.2, 0.6]).reshape(1, 3, 1, 1)
    assert restore(derained).getpixel((0, 0)) == round(0.3 * 255)


def test_result_is_clamped_and_rounded():
    _, restore = to_tensor(Image.new("RGB", (1, 1)))
    derained = torch.tensor([-0.3, 1.7, 100.6 / 255]).reshape(1, 3, 1, 1)
    assert restore(derained).getpixel((0, 0)) == (0, 255, 101)


def test_one_bit_is_cut_at_one_half():
    _, restore = to_tensor(Image.new("1", (2, 1)))
    derained = torch.tensor([0.49, 0.51]).expand(1, 3, 1, 2)
    assert np.asarray(restore(derained)).tolist() == [[False, True]]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBX"])
def test_pillow_alpha_is_left_alone(mode):
    image = noise(mode)
    _, restore = to_tensor(image)
    result = np.asarray(restore(torch.zeros(1, 3, 5, 7)))
    assert np.array_equal(result[..., -1], np.asarray(image)[..., -1])
    assert not result[..., :-1].any()


def test_palette_comes_back_as_rgb():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    result = round_trip(image)
    assert result.mode == "RGB"
    assert np.asarray(result).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["P", "PA", "L", "RGB"])
def test_transparent_colour_becomes_alpha(mode):
    image = Image.new(mode, (2, 1), (9, 9, 9) if mode == "RGB" else 0)
    if mode in ("P", "PA"):
        image.putpalette([9, 9, 9, 40, 50, 60])
    image.putpixel((1, 0), {"P": 1, "PA": (1, 255), "L": 40, "RGB": (40, 50, 60)}[mode])
    if mode != "PA":
        image.info["transparency"] = (9, 9, 9) if mode == "RGB" else 0
    result = round_trip(image)
    assert result.mode == ("LA" if mode == "L" else "RGBA")
    assert np.asarray(result)[0, :, -1].tolist() == [0, 255]
    assert "transparency" not in result.info


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces_show_the_derained_colour(mode):
    _, restore = to_tensor(noise(mode))
    target = torch.from_numpy(np.random.default_rng(1).random((1, 3, 5, 7), dtype=np.float32))
    shown = np.asarray(restore(target).convert("RGB")).astype(int)
    wanted = (target[0].permute(1, 2, 0) * 255).round().int().numpy()
    # Pillow rounds these spaces to 8 bits, and that is what is lost.
    assert abs(shown - wanted).max() <= {"CMYK": 0, "YCbCr": 3, "HSV": 5}[mode]


def test_cmyk_keeps_its_black_plate():
    image = Image.new("CMYK", (2, 1), (20, 20, 20, 100))
    tensor, restore = to_tensor(image)
    tensor[..., 0] *= 0.5  # darker: the plate can stay
    tensor[..., 1] = 1.0  # white: it has to go
    plates = np.asarray(restore(tensor))[0, :, 3].tolist()
    assert plates == [100, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation, tmp_path):
    image = noise("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    image.save(tmp_path / "a.png", exif=exif)
    tensor, restore = to_tensor(tmp_path / "a.png")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    rotated = [
        pixels,
        pixels.flip(2),
        pixels.flip(1, 2),
        pixels.flip(1),
        pixels.mT,
        pixels.mT.flip(2),
        pixels.mT.flip(1, 2),
        pixels.mT.flip(1),
    ][orientation - 1]
    assert torch.equal((tensor[0] * 255).round().to(torch.uint8), rotated)
    result = restore(tensor)
    assert result.getexif().get(0x0112, 1) == 1
    assert result.getexif()[0x010F] == "Maker"


def test_path_and_pillow_keep_format_and_profile(tmp_path):
    path = tmp_path / "a.jpg"
    noise("RGB").save(path, icc_profile=b"a profile")
    for image in (path, str(path), Image.open(path)):
        result = round_trip(image)
        assert isinstance(result, Image.Image)
        assert result.format == "JPEG"
        assert result.info["icc_profile"] == b"a profile"


def test_first_frame_of_several(tmp_path):
    frames = [Image.new("RGB", (3, 2), (level, 0, 0)) for level in (51, 255)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    tensor, _ = to_tensor(tmp_path / "a.tif")
    assert tensor[0, 0].unique().tolist() == pytest.approx([0.2])


SHAPES = [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)]
RANGES = {"uint8": 256, "uint16": 65536, "float16": 0, "float32": 0, "float64": 0}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", RANGES)
def test_array_identity_is_exact(shape, dtype):
    rng = np.random.default_rng(0)
    if RANGES[dtype]:
        array = rng.integers(0, RANGES[dtype], shape, dtype=dtype)
    else:
        # Values that float32, which the network works in, can hold.
        array = rng.random(shape, dtype=np.float32).astype(dtype)
    before = array.copy()
    tensor, restore = to_tensor(array)
    result = restore(tensor)
    grey_or_rgb = before.reshape(5, 7, -1)[..., : 1 if len(shape) == 2 or shape[2] < 3 else 3]
    scaled = torch.from_numpy(grey_or_rgb.astype(np.float64) / max(RANGES[dtype] - 1, 1))
    torch.testing.assert_close(
        tensor[0], scaled.permute(2, 0, 1).expand(3, 5, 7).float(), rtol=0, atol=1e-7
    )
    assert result.dtype == array.dtype
    assert np.array_equal(result, before)
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(">u2"),
        lambda array: array[::-1, ::-1],
        np.asfortranarray,
        lambda array: np.frombuffer(array.tobytes(), np.uint16).reshape(array.shape),
    ],
    ids=["big-endian", "negative strides", "fortran order", "read-only"],
)
def test_array_of_any_layout(change):
    array = change(np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16))
    result = round_trip(array)
    assert result.dtype == array.dtype
    assert np.array_equal(result, array)


TENSORS = [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (4, 5, 7), (2, 1, 5, 7), (2, 4, 5, 7)])
@pytest.mark.parametrize("dtype", TENSORS)
def test_tensor_identity_is_exact(shape, dtype):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    peak = {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    image = (values * peak).to(dtype)
    before = image.clone()
    tensor, restore = to_tensor(image)
    colours = 1 if shape[-3] == 1 else 3
    wanted = (image.double() / peak).float().reshape(-1, *shape[-3:])[:, :colours]
    torch.testing.assert_close(
        tensor, wanted.expand(-1, 3, -1, -1), rtol=0, atol=1e-7, check_stride=False
    )
    assert tensor.is_contiguous()
    result = restore(tensor)
    assert result.dtype == dtype
    assert torch.equal(result, before)


def test_tensor_alpha_and_clamp():
    image = torch.full((2, 4, 1, 1), 9, dtype=torch.uint8)
    _, restore = to_tensor(image)
    derained = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.2, 1.0]]).reshape(2, 3, 1, 1)
    assert restore(derained).flatten(1).tolist() == [[128, 0, 255, 9], [0, 51, 255, 9]]


def test_channels_last_tensor_becomes_contiguous():
    image = torch.rand(2, 3, 5, 7).to(memory_format=torch.channels_last)
    tensor, _ = to_tensor(image)
    assert tensor.is_contiguous()
    assert torch.equal(tensor, image)


def test_result_of_inference_mode_can_be_trained_on():
    with torch.inference_mode():
        image = torch.rand(3, 5, 7)
        tensor, restore = to_tensor(image)
        result = restore(tensor * 0.5)
    weight = torch.ones((), requires_grad=True)
    (weight * result).sum().backward()
    assert weight.grad == pytest.approx(image.sum().item() / 2, rel=1e-5)


@pytest.mark.gpu
def test_tensor_returns_to_its_device():
    image = torch.rand(3, 5, 7, device="cuda")
    tensor, restore = to_tensor(image)
    assert tensor.is_cuda
    assert torch.equal(restore(tensor.cpu()), image)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (None, "an image is a path, .* not NoneType"),
        (np.zeros((3, 50, 70)), r"not \(3, 50, 70\); np.moveaxis\(array, 0, -1\)"),
        (np.zeros((2, 50, 70, 3)), "pass one picture at a time"),
        (np.zeros(5), r"an array image is \(H, W\)"),
        (np.zeros((5, 7, 5)), "with 1 to 4 channels"),
        (np.zeros((5, 7), bool), "of type bool, but uint8, uint16 or float"),
        (np.zeros((5, 7), np.int64), "of type int64"),
        (np.zeros((5, 7), np.complex64), "of type complex64"),
        (np.zeros((0, 7, 3)), r"the array has no pixels \(0 high, 7 wide\)"),
        (np.full((5, 7), 200.0), r"from 200 to 200, .* divide it by 255 first"),
        (np.array([[-0.1, 0.5]]), "from -0.1 to 0.5, .* clip or rescale"),
        (np.array([[np.nan, 0.5]]), "NaN or infinite"),
        (torch.zeros(5, 7), r"a tensor image is \(C, H, W\) or \(B, C, H, W\), not \(5, 7\)"),
        (torch.zeros(5, 7, 3), "1 to 4 channels, not 5 .* permute it"),
        (torch.zeros(1, 1, 3, 5, 7), "add or remove a dimension"),
        (torch.zeros(3, 5, 7, dtype=torch.int64), "of type torch.int64"),
        (torch.zeros(3, 5, 7, dtype=torch.bool), "of type torch.bool"),
        (torch.zeros(0, 3, 5, 7), "the tensor has no pixels"),
        (torch.zeros(3, 5, 0), r"no pixels \(5 high, 0 wide\)"),
        (torch.full((3, 5, 7), torch.inf), "NaN or infinite"),
        (torch.full((3, 5, 7), torch.nan, dtype=torch.bfloat16), "NaN or infinite"),
        (torch.full((3, 5, 7), 1.0000001), "from 1.00000012 to 1.00000012, .* clip or rescale"),
        (torch.full((3, 5, 7), 1.5), "from 1.5 to 1.5, .* clip or rescale"),
        (Image.new("RGB", (0, 5)), r"the image has no pixels \(5 high, 0 wide\)"),
        (Image.new("LAB", (3, 2)), "of mode LAB, which is not supported; convert it to RGB"),
        (Image.new("I", (3, 2), 70000), "from 70000 to 70000, but 0 to 65535"),
        (Image.new("F", (3, 2), 200.0), "divide it by 255"),
    ],
)
def test_refused_in_one_sentence(image, sentence):
    with pytest.raises(ImageError, match=sentence) as caught:
        to_tensor(image)
    assert "\n" not in str(caught.value)


def test_alpha_is_not_judged():
    image = torch.rand(4, 5, 7)
    image[3] = 255
    assert torch.equal(round_trip(image), image)


def test_transparent_deep_grey_stays_transparent(tmp_path):
    deep = np.full((8, 12), 30_000, np.uint16)
    deep[:3] = 0
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=0)
    rainy, restore = to_tensor(tmp_path / "deep.png")
    dark = restore(rainy * 0.0)  # all of it would be transparent
    assert dark.info["transparency"] == 0
    assert np.array_equal(np.asarray(dark) == 0, deep == 0)
    bright = restore(rainy * 0 + 1)
    assert np.array_equal(np.asarray(bright) == 0, deep == 0)
    assert np.asarray(bright)[7, 7] == 65535


def test_a_tensor_with_a_gradient_gives_one_without():
    image = torch.rand(3, 8, 8, requires_grad=True)
    rainy, restore = to_tensor(image)
    assert not restore(rainy).requires_grad
    restore(rainy).numpy()
