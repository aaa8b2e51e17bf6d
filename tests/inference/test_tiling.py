"""Tiles against the whole image, for every family; the cut itself; and running out of memory."""

import pytest
import torch

from raincleave.errors import ConfigError, ImageError
from raincleave.inference import memory, tiling
from raincleave.inference.tiling import Box, Reach, grid, largest_tiles, tiled
from raincleave.models import BRN, DRN, SRN, ResGuideNet, RRANet

CPU = torch.device("cpu")
FAMILIES = {
    "drn": lambda: DRN(stages=2, recursions=2, channels=4),
    "srn": lambda: SRN(stages=2, res_blocks=1),
    "srn-gru": lambda: SRN(stages=2, res_blocks=1, cell="gru", mapping="direct"),
    "brn": lambda: BRN(stages=2),
    "crn-gru": lambda: BRN(stages=2, coupling="none", cell="gru"),
    "resguidenet": lambda: ResGuideNet(blocks=3, recursions=2, channels=4),
    "rranet": lambda: RRANet(stages=2, width=4),
}
# Of as many stages as published, so that the short halo is shorter than the exact one.
DEEP = {
    "drn": lambda: DRN(channels=4),
    "srn": SRN,
    "brn": BRN,
    "rranet": lambda: RRANet(width=4),
}
AWKWARD = [(1, 1), (7, 1000), (481, 321), (1023, 769), (307, 211)]


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


def noisy(height: int, width: int) -> torch.Tensor:
    """A street in levels of 8 bits: noise beside flat and saturated places."""
    torch.manual_seed(height * 1000 + width)
    image = (torch.rand(1, 3, height, width) * 255).round() / 255
    image[..., : width // 3] = 0.7
    image[..., : height // 4, width // 3 : width // 2] = 1.0
    return image


@pytest.mark.parametrize("stages", [1, 2])
def test_the_receptive_radius_is_what_one_broken_pixel_spoils(model, stages):
    """NaN spreads to all that looks at it, through ReLU and max-pooling alike."""
    radius = model.receptive_radius(stages)
    width = 2 * radius + 30
    farthest = 0
    # A pooling network sees the farther, the nearer the pixel is to the edge of its coarsest cell.
    for shift in range(model.size_multiple):
        rainy = torch.rand(1, 3, 16, width)
        pixel = width // 2 + shift
        rainy[0, 1, 7, pixel] = torch.nan
        with torch.inference_mode():
            spoilt = model(rainy, stages).isnan().any(1)[0].any(0).nonzero()
        farthest = max(farthest, int((spoilt - pixel).abs().max()))
    assert farthest == radius


def test_published_radii():
    assert DRN().receptive_radius() == 210
    assert DRN().receptive_radius(4) == 120
    assert SRN().receptive_radius() == 78
    assert BRN().receptive_radius() == 87
    assert ResGuideNet().receptive_radius() == 60
    assert ResGuideNet().receptive_radius(6) == 60  # the merge sees no farther
    assert RRANet().receptive_radius() == 539


@pytest.mark.parametrize("size", [(1, 1), (7, 400), (121, 81), (61, 97)])
def test_exact_tiles_equal_the_whole(model, size):
    image = noisy(*size)
    whole = model.derain(image, tile=None)
    tiles = model.derain(image, tile=48, halo="exact")
    assert (tiles - whole).abs().max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("size", AWKWARD)
def test_exact_tiles_equal_the_whole_at_awkward_sizes(model, size):
    image = noisy(*size)
    whole = model.derain(image, tile=None)
    tiles = model.derain(image, tile=200, halo="exact")
    assert (tiles - whole).abs().max() < 1e-6


def short_halo_error(family, size, tile):
    """The largest difference from the whole image, in 8-bit levels."""
    torch.manual_seed(0)
    model, image = DEEP[family]().eval(), noisy(*size)
    assert model.short_halo < model.receptive_radius()
    tiles = model.derain(image, tile=tile)
    return (tiles - model.derain(image, tile=None)).abs().max() * 255


@pytest.mark.parametrize(("family", "size"), [("drn", (9, 197)), ("rranet", (9, 331))])
def test_the_short_halo_changes_no_pixel_by_a_quarter_of_a_level(family, size):
    assert short_halo_error(family, size, tile=48) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("size", AWKWARD)
@pytest.mark.parametrize("family", DEEP)
def test_the_short_halo_at_awkward_sizes(family, size):
    assert short_halo_error(family, size, tile=200) < 0.25


def test_too_short_a_halo_shows(model):
    image = noisy(60, 60)
    whole = model.derain(image, tile=None)
    assert (model.derain(image, tile=24, halo=0) - whole).abs().max() > 1e-3


def test_the_seams_lie_where_the_pooling_grid_does():
    seen = []

    def network(piece):
        seen.append(tuple(piece.shape[-2:]))
        return piece

    image = torch.rand(1, 3, 50, 61)
    result = tiled(network, image, Reach(9, None, 8), CPU, tile=20, halo="exact")
    assert torch.equal(result, image)
    # Tiles of 24 pixels, a halo of 16, both multiples of 8; the image's own end where it ends.
    assert seen == [(h, w) for h in (40, 50 - 8, 50 - 32) for w in (40, 61 - 8, 61 - 32)]


def test_auto_leaves_small_images_whole_and_cuts_large_ones(monkeypatch):
    model = FAMILIES["drn"]().eval()
    image = noisy(130, 170)
    whole = model.derain(image, tile=None)
    sizes = []
    forward = type(model).forward
    monkeypatch.setattr(
        type(model),
        "forward",
        lambda self, piece, stages=None: (
            sizes.append(piece[0, 0].numel()) or forward(self, piece, stages)
        ),
    )
    assert torch.equal(model.derain(image), whole)
    assert sizes == [130 * 170]
    sizes.clear()
    monkeypatch.setattr(memory, "CPU_BYTES", 1_200_000)
    tiles = model.derain(image, halo="exact")
    assert (tiles - whole).abs().max() < 1e-6
    probe, *cut = sizes
    assert probe == 64 * 64
    assert len(cut) > 1
    # 6 channels of image, and three feature maps at most at a time.
    assert max(cut) * (6 + 3 * 4) * 4 <= 1_200_000
    sizes.clear()
    batch = image.expand(3, -1, -1, -1)
    monkeypatch.setattr(memory, "CPU_BYTES", 5_000_000)
    assert (model.derain(batch) - whole).abs().max() < 1e-6
    assert sizes == [130 * 170, 130 * 170]  # two images at once, then one; measured before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_tile_and_goes_on(error):
    seen = []

    def network(piece):
        seen.append(tuple(piece.shape[-2:]))
        if piece[0, 0].numel() > 1000:
            raise error
        return piece * 2

    image = torch.rand(2, 3, 64, 40)
    result = tiled(network, image, Reach(3), CPU, tile=None)
    assert torch.equal(result, image * 2)
    assert seen == [(64, 40), (35, 40), (35, 23), (35, 23), (35, 23), (35, 23)]


def test_out_of_memory_at_last_is_one_sentence():
    def network(piece):
        raise torch.OutOfMemoryError("out of memory")

    for reach in (Reach(3), Reach(None)):
        with pytest.raises(ImageError, match="image of 40×64 pixels does not fit into memory"):
            tiled(network, torch.rand(1, 3, 64, 40), reach, CPU)


def test_other_errors_pass():
    def network(piece):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        tiled(network, torch.rand(1, 3, 64, 40), Reach(3), CPU)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tile": 0}, "tile is 'auto', None or a number"),
        ({"tile": "large"}, "tile is 'auto', None or a number"),
        ({"halo": -1}, "halo is 'exact' or a number"),
        ({"halo": "short"}, "halo is 'exact' or a number"),
    ],
)
def test_nonsense_is_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        tiled(lambda piece: piece, torch.rand(1, 3, 8, 8), Reach(3), CPU, **options)


def test_a_network_that_tells_no_radius_is_never_cut_unasked():
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(tiled(lambda piece: piece, image, Reach(None), CPU), image)
    with pytest.raises(ConfigError, match="does not tell its receptive_radius; give halo"):
        tiled(lambda piece: piece, image, Reach(None), CPU, tile=8)
    assert torch.equal(tiled(lambda p: p, image, Reach(None), CPU, tile=8, halo=2), image)


def test_the_default_halo_is_the_shorter_one():
    assert Reach(210, 64).halo(None) == 64
    assert Reach(20, 64).halo(None) == 20
    assert Reach(539, None, 8).halo(None) == 544
    assert Reach(210, 64).halo("exact") == 210


@pytest.mark.parametrize("size", [(1, 1), (1080, 1920), (4320, 7680), (7, 100_003)])
@pytest.mark.parametrize(("halo", "multiple"), [(0, 1), (64, 1), (544, 8)])
def test_largest_tiles_cover_once_and_hold_what_they_may(size, halo, multiple):
    height, width = size
    boxes = largest_tiles(height, width, 1_500_000, halo, multiple)
    assert sum(box.pixels for box in boxes) == height * width
    assert all(box.top % multiple == box.left % multiple == 0 for box in boxes)
    for box in boxes:
        allowed = max(1_500_000, (3 * max(halo, 16) + multiple) ** 2)
        assert box.grown(halo, height, width).pixels <= allowed


def test_grid_and_halves():
    assert grid(5, 3, 4, 2) == [Box(0, 4, 0, 2), Box(0, 4, 2, 3), Box(4, 5, 0, 2), Box(4, 5, 2, 3)]
    assert Box(8, 72, 0, 40).halves(8) == [Box(8, 40, 0, 40), Box(40, 72, 0, 40)]
    assert Box(0, 40, 0, 44).halves(8) == [Box(0, 40, 0, 24), Box(0, 40, 24, 44)]
    assert Box(0, 16, 0, 31).halves(8) == [Box(0, 16, 0, 31)]


def test_measured_bytes_per_pixel():
    """Two alive at a time, the input and one result; what was let go does not count."""

    def network(piece):
        for _ in range(5):
            piece = piece + 1
        return piece

    assert memory.bytes_per_pixel(network) == 2 * 12


def test_weights_do_not_count_as_pixels():
    """A wide network's are larger than the features of the small image that is measured."""

    def network(piece):
        kernel = torch.randn(512, 512, 3, 3).mul(2)
        return piece + kernel.mean()

    assert memory.bytes_per_pixel(network) == 2 * 12


def test_usable_bytes_follow_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "_free_bytes", lambda: 1000)
    assert memory.usable_bytes(CPU) == 500
    monkeypatch.setattr(memory, "_free_bytes", lambda: 1 << 40)
    assert memory.usable_bytes(CPU) == memory.CPU_BYTES


def test_a_container_s_files_in_memory_are_free(monkeypatch):
    told = {
        "/proc/meminfo": ["MemTotal: 9000000 kB", "MemAvailable: 8000000 kB"],
        "/sys/fs/cgroup/memory.max": ["1000"],
        "/sys/fs/cgroup/memory.current": ["990"],
        "/sys/fs/cgroup/memory.stat": [
            "anon 90",
            "active_file 300",
            "inactive_file 600",
            "shmem 5",
        ],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: told.get(path, []))
    assert memory._free_bytes() == 910
    told["/sys/fs/cgroup/memory.max"] = ["max"]
    assert memory._free_bytes() == 8_000_000 * 1024


def test_memory_is_given_back_between_tiles_alone(monkeypatch):
    given = []
    monkeypatch.setattr(tiling, "give_back", lambda: given.append(True))
    network = DRN(stages=1, recursions=1)
    network.derain(torch.rand(1, 3, 40, 40), tile=None)
    assert not given
    network.derain(torch.rand(1, 3, 40, 40), tile=20)
    assert len(given) == 3, "four tiles"
