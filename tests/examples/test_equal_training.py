import shutil

import pytest
from safetensors.torch import load_file


def test_equal_training_gives_equal_networks_and_other_networks_their_own(example, pairs):
    networks = [
        "SRN,stages=1,res_blocks=1",
        "SRN,stages=1,res_blocks=1",
        "DRN,stages=1,recursions=1",
    ]
    size = "--steps", "2", "--batch", "2", "--patch", "24", "--workers", "0"
    options = "--photos", pairs / "clean", *size, "--save", "weights"
    _, _, first, again, other = example("equal_training", *networks, *options)
    cells = [line.strip("| ").split(" | ") for line in (first, again, other)]
    assert cells[0][3:] == cells[1][3:] != cells[2][3:], "PSNR and SSIM"
    assert int(cells[2][1].replace(",", "")) == 10_595
    assert load_file(f"weights/{networks[2]}.safetensors")


def test_a_mistaken_network_is_named(example, pairs):
    with pytest.raises(SystemExit, match=r"no network 'SNR'.*SRN"):
        example("equal_training", "SNR,stages=1", "--photos", pairs / "clean")


def test_photographs_that_leave_none_to_compare_on_are_told_before_training(
    example, pairs, tmp_path
):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(next((pairs / "clean").iterdir()), alone)
    with pytest.raises(SystemExit, match="two photographs at least"):
        example("equal_training", "SRN,stages=1", "--photos", alone, "--steps", "1")
