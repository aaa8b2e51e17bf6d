"""The real huggingface_hub client against a local server: what users meet, good days and bad."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub.constants as hf
import pytest
import torch
from PIL import Image

import raincleave.hub
from hub_server import serve
from raincleave import DRN, Derainer, load
from raincleave.errors import CheckpointError

REPO, REF = "me/drn", "hf://me/drn"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DRN(stages=2, recursions=1, channels=4).eval()


@pytest.fixture
def saved(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    names = ("model.safetensors", "config.json", "README.md")
    return {name: (tmp_path / "saved" / name).read_bytes() for name in names}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub that the client takes for its own, and a cache of its own."""
    with serve() as server:
        monkeypatch.setattr(hf, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hf, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(hf, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(hf, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        # The client waits 1, 2, 4 … seconds between its attempts.
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        yield server


@pytest.fixture
def hub(server, saved):
    server.commit(REPO, saved)
    return server


def cached_files(tmp_path):
    blobs = (tmp_path / "cache").glob("models--*/blobs/*")
    pointers = (tmp_path / "cache").glob("models--*/snapshots/*/*")
    return [path.name for path in (*blobs, *pointers)]


def same(a, b):
    x = torch.rand(1, 3, 9, 11)
    return torch.equal(a(x), b(x))


def test_first_load_downloads_the_second_needs_no_server(hub, model):
    first = load(REF)
    assert same(first, model)
    assert not first.training
    assert len(hub.asked("GET", "/cdn/")) == 1
    hub.shutdown()
    hub.server_close()
    assert same(load(REF), model)


def test_a_cached_load_downloads_nothing_again(hub):
    load(REF)
    hub.requests.clear()
    load(REF)
    assert hub.asked("GET") == []
    hub.requests.clear()
    load(REF, local_files_only=True)
    assert hub.requests == []


def test_a_pinned_commit_stays_and_costs_no_request(hub, model, tmp_path):
    pinned = hub.repos[REPO]["refs"]["main"]
    torch.manual_seed(1)
    other = DRN(stages=2, recursions=1, channels=4).eval()
    other.save(tmp_path / "other.safetensors")
    hub.commit(REPO, {"model.safetensors": (tmp_path / "other.safetensors").read_bytes()})
    assert same(load(REF), other)
    assert same(load(f"{REF}@{pinned}"), model)
    hub.requests.clear()
    assert same(load(REF, revision=pinned), model)
    assert hub.requests == []


def test_a_cut_line_is_resumed_where_it_broke(hub, model, monkeypatch):
    monkeypatch.setattr(hf, "DOWNLOAD_CHUNK_SIZE", 100)  # 10 MB, more than these weights have
    hub.cut = 1000
    assert same(load(REF), model)
    ranges = [asked for verb, path, asked in hub.requests if verb == "GET" and "/cdn/" in path]
    assert ranges == [None, "bytes=1000-"]


def test_a_wrong_hash_names_both_and_leaves_nothing(hub, saved, tmp_path):
    right = hashlib.sha256(saved["model.safetensors"]).hexdigest()
    hub.claim = "ab" * 32
    with pytest.raises(CheckpointError, match=f"hash {right}, not {'ab' * 32}; it was removed"):
        load(REF)
    assert cached_files(tmp_path) == []
    hub.claim = None
    load(REF)
    assert right in cached_files(tmp_path)


def test_a_spoilt_cache_is_noticed(hub, saved, tmp_path):
    load(REF)
    blob = tmp_path / "cache" / "models--me--drn" / "blobs"
    blob /= hashlib.sha256(saved["model.safetensors"]).hexdigest()
    blob.write_bytes(saved["model.safetensors"][:-1] + b"\xff")
    with pytest.raises(CheckpointError, match="removed from the cache, load it again"):
        load(REF, local_files_only=True)
    load(REF)


def test_a_named_checkpoint_is_pinned_and_its_hash_checked(hub, saved, monkeypatch, tmp_path):
    commit = hub.repos[REPO]["refs"]["main"]
    entry = {
        "file": None,
        "sha256": hashlib.sha256(saved["model.safetensors"]).hexdigest(),
        "hub": {"repo": REPO, "revision": commit},
    }
    table = {"far": entry, "forged": {**entry, "sha256": "0" * 64}}
    table["loose"] = {**entry, "hub": {"repo": REPO, "revision": "main"}}
    monkeypatch.setattr(raincleave.hub, "checkpoints", lambda: table)
    assert load("far").card["name"] == "far"
    with pytest.raises(CheckpointError, match="has the hash"):
        load("forged")
    assert cached_files(tmp_path) == []
    with pytest.raises(CheckpointError, match="to no full commit"):
        load("loose")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("hf://me/none", "is not on the Hub, or is private"),
        (f"{REF}@v9", "hf://me/drn@v9 is a revision that the repository does not have"),
        ("hf://me/empty", "hf://me/empty has no model.safetensors"),
        ("hf://me/foreign", " has no config.json"),
        ("hf://me/../../etc", "not of the form"),
        ("hf://drn", "not of the form"),
        ("hf://me/drn@../x", "not of the form"),
    ],
)
def test_what_is_not_there(hub, ref, message):
    hub.commit("me/empty", {"README.md": b"#"})
    hub.commit("me/foreign", {"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"})
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(ref)


def test_a_private_repository_opens_to_its_token(hub, model, monkeypatch):
    hub.tokens[REPO] = "hf_good"
    for token in (None, "hf_bad"):
        with pytest.raises(CheckpointError, match=r"private and the token \(HF_TOKEN\)"):
            load(REF, token=token)
    assert same(load(REF, token="hf_good"), model)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert same(DRN.from_pretrained(REPO, force_download=True), model)


@pytest.mark.parametrize(
    ("status", "message"),
    [(429, "has had too many requests"), (503, "answers with status 503"), (403, "permission")],
)
def test_a_busy_or_broken_hub(hub, model, status, message):
    hub.status = status
    with pytest.raises(CheckpointError, match=message):
        load(REF)
    hub.status = None
    load(REF)
    hub.status = status
    assert same(load(REF), model)


def test_a_slow_server_is_given_up(hub, monkeypatch):
    monkeypatch.setattr(hf, "HF_HUB_ETAG_TIMEOUT", 0.1)
    monkeypatch.setattr(hf, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.1)
    hub.delay = 20
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="cannot be had from http://127"):
        load(REF)
    assert time.monotonic() - start < 10


def test_offline_mode(hub, model, monkeypatch):
    monkeypatch.setattr(hf, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"not in the cache, and .* \(offline\)"):
        load(REF)
    with pytest.raises(CheckpointError, match=r"not in the cache, and .* \(offline\)"):
        load(REF, local_files_only=True)
    assert hub.requests == []
    monkeypatch.setattr(hf, "HF_HUB_OFFLINE", False)
    load(REF)
    monkeypatch.setattr(hf, "HF_HUB_OFFLINE", True)
    assert same(load(REF), model)


def test_a_full_disk_is_not_the_hub_s_fault(hub, model, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(CheckpointError, match=r"kept in the cache: No space left .*; set HF_HOME"):
        load(REF)


def test_a_cache_that_cannot_be_written(hub, model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be kept in the cache"):
        load(REF, cache_dir=tmp_path / "file" / "cache")
    load(REF)
    for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert same(load(REF), model)
    finally:
        for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o200)


FETCH = """
import hashlib, sys
from raincleave.remote import Access, fetch
print(hashlib.sha256(fetch("me/drn", "model.safetensors", Access()).data).hexdigest())
assert "torch" not in sys.modules
"""


def test_two_processes_at_once_and_the_users_environment(hub, saved, tmp_path):
    """HF_ENDPOINT and HF_HOME as the environment has them."""
    hub.delay = 0.2
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", FETCH]
    runs = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    right = hashlib.sha256(saved["model.safetensors"]).hexdigest()
    assert [run.communicate(timeout=60)[0].strip() for run in runs] == [right, right]
    environment["HF_HUB_OFFLINE"] = "1"
    offline = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert offline.stdout.strip() == right
    assert not list((tmp_path / "home").rglob("*.incomplete"))


def test_from_pretrained_finds_the_class(hub, model, saved):
    hub.commit("me/bare", {"model.safetensors": bare(saved), "config.json": saved["config.json"]})
    for found in (Derainer.from_pretrained(REPO), DRN.from_pretrained("me/bare")):
        assert type(found) is DRN
        assert not found.training
        assert same(found, model)
    with pytest.raises(CheckpointError, match="is a DRN, not a BRN"):
        raincleave.BRN.from_pretrained(REPO)
    assert DRN.from_pretrained(REPO, stages=1).hparams["stages"] == 1
    with pytest.raises(CheckpointError, match="recursions=1, not 2"):
        DRN.from_pretrained(REPO, recursions=2)


def bare(saved):
    """The weights as other tools write them: without a word on the network."""
    from safetensors.torch import load, save

    return save(load(saved["model.safetensors"]), {"format": "pt"})


def test_push_and_load_back(server, model, tmp_path, monkeypatch):
    model.card = {
        "name": "drn-small",
        "licence": "Apache-2.0",
        "training": {"data": "rendered rain", "steps": 2},
        "figures": [
            {
                "dataset": "Rain100H",
                "protocol": "csdwren",
                "images": 100,
                "input_psnr": 13.55,
                "input_ssim": 0.379,
                "psnr": 25.5,
                "ssim": 0.82,
            }
        ],
    }
    model.push_to_hub("me/pushed", token="hf_good")
    files = server.repos["me/pushed"]["commits"][server.repos["me/pushed"]["refs"]["main"]]
    assert json.loads(files["config.json"])["architecture"] == "DRN"
    assert same(load("hf://me/pushed"), model)
    card = files["README.md"].decode()
    for line in (
        "library_name: raincleave",
        "pipeline_tag: image-to-image",
        "license: apache-2.0",
        "name: PSNR (csdwren protocol)",
        "value: 25.5",
        "| Rain100H | csdwren | 100 | 13.55 dB / 0.379 | 25.50 dB / 0.820 |",
    ):
        assert line in card
    # The example runs as it stands.
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 40), "grey").save("rainy.jpg")
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], {})
    assert Image.open("clean.png").size == (48, 40)
    assert Path("clean.png").stat().st_size > 0
