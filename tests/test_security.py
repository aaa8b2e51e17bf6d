"""Strangers' files: nothing in them runs, floods the memory or leads elsewhere."""

import io
import json
import pickle
import random
import resource
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import save

from raincleave import DRN, load
from raincleave.errors import CheckpointError


class Bomb:
    """Unpickling this creates a file: the sentinel."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return open, (str(self.sentinel), "w")


@pytest.fixture
def sentinel(tmp_path):
    """A path that any executed payload would create; checked afterwards."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists()


@pytest.fixture
def drn():
    torch.manual_seed(0)
    return DRN(stages=2, recursions=1, channels=4).eval()


def checkpoint(drn):
    return {
        "architecture": "DRN",
        "hyper_parameters": dict(drn.hparams),
        "state_dict": drn.state_dict(),
    }


def test_the_sentinel_would_be_seen(sentinel):
    pickle.loads(pickle.dumps(Bomb(sentinel))).close()
    assert sentinel.exists()
    sentinel.unlink()


@pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_a_pickle_with_code_is_refused(tmp_path, sentinel, drn, suffix, kind):
    path = tmp_path / f"weights.{suffix}"
    content = {**checkpoint(drn), "bomb": Bomb(sentinel)}
    if kind == "plain":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match=r"never loaded|corrupt"):
        load(path)


def test_code_in_the_arguments_is_refused(tmp_path, sentinel, drn):
    content = checkpoint(drn)
    content["hyper_parameters"]["stages"] = Bomb(sentinel)
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"holds more than weights .* never loaded"):
        load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.ckpt", "a.zip"])
def test_a_pickle_under_any_name_does_not_run(tmp_path, sentinel, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(sentinel)))
    with pytest.raises(CheckpointError):
        load(tmp_path / name)


def lying(header, data=b"\0" * 64, length=None):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LIES = {
    "longer than the file": lying({"a": entry([4], 0, 16)}, length=2**20),
    "length 2^60": lying({"a": entry([4], 0, 16)}, length=2**60),
    "length 2^64 - 1": lying({"a": entry([4], 0, 16)}, length=2**64 - 1),
    "shape 2^60": lying({"a": entry([2**60], 0, 64)}),
    "shape that overflows": lying({"a": entry([2**40, 2**40], 0, 64)}),
    "negative shape": lying({"a": entry([-4, -4], 0, 64)}),
    "overlap": lying({"a": entry([16], 0, 64), "b": entry([8], 0, 32)}),
    "backwards": lying({"a": entry([16], 64, 0)}),
    "beyond the end": lying({"a": entry([32], 0, 128)}),
    "hole": lying({"a": entry([8], 32, 64)}),
    "unknown type": lying({"a": entry([16], 0, 64, "F31")}),
    "no offsets": lying({"a": {"dtype": "F32", "shape": [16]}}),
    "numbers for metadata": lying({"__metadata__": {"a": 1}, "a": entry([16], 0, 64)}),
    "deep": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "no json": struct.pack("<Q", 4) + b"\xff" * 68,
    "empty": b"",
    "short": b"\1\2\3",
    "another file": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, lie):
    path = tmp_path / "a.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(CheckpointError, match=r"not a readable safetensors file|has 0 bytes"):
        load(path)


def test_a_header_without_metadata_is_refused(tmp_path, drn):
    data = save(drn.state_dict(), {"a": "b"})
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size]) | {"__metadata__": None}
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(CheckpointError, match="does not say which network it belongs to"):
        load(path)


def test_claimed_sizes_cost_no_memory(tmp_path, drn):
    """A header that asks for a network of 2^60 channels, or endless stages, over a small file."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for arguments in ({"channels": 2**60}, {"channels": 1024}, {"stages": 2**60, "channels": 4}):
        header = {"architecture": "DRN", "arguments": json.dumps(arguments)}
        (tmp_path / "a.safetensors").write_bytes(save(drn.state_dict(), header))
        with pytest.raises(CheckpointError, match=r"does not take|does not fit"):
            load(tmp_path / "a.safetensors")
    header = {"architecture": "RRANet", "arguments": '{"width": 1024}'}  # 100 GB of weights
    (tmp_path / "a.safetensors").write_bytes(save(drn.state_dict(), header))
    with pytest.raises(CheckpointError, match="does not fit RRANet"):
        load(tmp_path / "a.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("suffix", ["ckpt", "pth"])
def test_a_zip_bomb_is_not_unpacked(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**28)
        archive.writestr("archive/version", "3\n")
    assert path.stat().st_size < 2**20
    start = time.process_time()
    with pytest.raises(CheckpointError, match="compressed"):
        load(path)
    assert time.process_time() - start < 1


def test_a_zip_whose_entries_share_their_bytes_is_not_unpacked(tmp_path):
    """Without compression, a bomb lists one piece of the file many times over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**16)
        first = archive.filelist[0]
        archive.filelist.extend([first] * 100)
    (tmp_path / "a.ckpt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="compressed"):
        load(tmp_path / "a.ckpt")


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(CheckpointError, match="which no file of weights has"):
        load(tmp_path / "a.safetensors")


def test_names_and_links_do_not_lead_elsewhere(tmp_path, drn):
    drn.save_pretrained(tmp_path / "secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).symlink_to(tmp_path / "secret" / name)
        with pytest.raises(CheckpointError, match="link out of its folder"):
            load(folder)
        (folder / name).unlink()
        (folder / name).write_bytes((tmp_path / "secret" / name).read_bytes())
    load(folder)
    for ref in ("hf://me/../secret", "hf://../secret", "hf://me/x@../../main", "hf:///etc/passwd"):
        with pytest.raises(CheckpointError, match="not of the form"):
            load(ref)
    (tmp_path / "pipe.safetensors").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="is not a file"):
        load(tmp_path / "pipe.safetensors")


def test_a_cache_of_the_hub_may_be_named_as_a_folder(tmp_path, drn):
    drn.save_pretrained(tmp_path / "out")
    snapshot = tmp_path / "models--me--drn" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "blobs").mkdir()
    (tmp_path / "out" / "model.safetensors").rename(snapshot.parents[1] / "blobs" / "123")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert load(snapshot).hparams == drn.hparams


def test_strange_values_in_a_checkpoint_are_refused(tmp_path, drn):
    for change in (
        {"architecture": "os.system"},
        {"architecture": ["DRN"]},
        {"architecture": torch.zeros(3)},
        {"hyper_parameters": [1]},
        {"hyper_parameters": {1: 2}},
        {"hyper_parameters": {"stages": torch.ones(1)}},
        {"hyper_parameters": {"supervise": {"a": 1}}},
        {"state_dict": {"f_in.weight": 3}},
        {"state_dict": {1: torch.zeros(1)}},
        {"state_dict": None},
    ):
        torch.save({**checkpoint(drn), **change}, tmp_path / "a.ckpt")
        with pytest.raises(CheckpointError):
            load(tmp_path / "a.ckpt")
    torch.save(torch.zeros(3), tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="holds a Tensor, not weights by name"):
        load(tmp_path / "a.ckpt")


def mutate(data, chance):
    """Flip bytes, cut, double, insert or zero somewhere; headers and pickles more than weights."""
    data = bytearray(data)
    reach = len(data) if chance.random() < 0.3 else min(len(data), 1500)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(min(reach, len(data)) or 1)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << chance.randrange(8))]) if data else b""
            case 2:
                del data[at : at + chance.choice([1, 8, 100])]
            case 3:
                data[at:at] = chance.randbytes(chance.choice([1, 8, 100]))
            case 4:
                data[at : at + 8] = struct.pack("<Q", chance.choice([0, 2**31, 2**60, 2**64 - 1]))
            case 5:
                data[at:at] = data[at : at + 100]
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.1 else data)


def originals(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    torch.save(checkpoint(drn), tmp_path / "a.ckpt")
    shapes = {"conv0.0": (16, 6), "conv.0": (3, 16)}
    shapes |= {f"res_conv{k}.{i}": (16, 16) for k in (1, 2) for i in (0, 2)}
    weights = {f"{name}.weight": torch.rand(*shape, 3, 3) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": torch.rand(shape[0]) for name, shape in shapes.items()}
    torch.save(weights, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    return [(tmp_path / name).read_bytes() for name in ("a.safetensors", "a.ckpt", "a.pth")]


def attempt(path):
    """What the loader said of the file; nothing if it took it."""
    try:
        load(path)
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "count", [200, pytest.param(2000, marks=pytest.mark.slow)], ids=["quick", "full"]
)
def test_mutated_files_give_our_error_or_a_model(tmp_path, drn, count):
    chance = random.Random(0)
    files = originals(drn, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for i in range(count):
        path = tmp_path / f"m.{('safetensors', 'ckpt', 'pth')[i % 3]}"
        path.write_bytes(mutate(files[i % 3], chance))
        start = time.monotonic()
        message = attempt(path)
        assert len(message.splitlines()) <= 1
        refused += bool(message)
        assert time.monotonic() - start < 5
    assert refused > count / 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
