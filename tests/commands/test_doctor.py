import hashlib
import re
from importlib.metadata import requires, version

import pytest
import torch

import raincleave
import raincleave.hub
from raincleave.cli import run
from raincleave.commands import doctor


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.safetensors").write_bytes(b"weights")
    entry = {"file": "a.safetensors", "sha256": hashlib.sha256(b"weights").hexdigest()}
    monkeypatch.setattr(raincleave.hub, "checkpoints", lambda: {"a": entry})
    monkeypatch.setattr(doctor.resources, "files", lambda _: tmp_path)
    return entry


def test_reports_the_installation(package, capsys):
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    for line in (
        f"  raincleave {raincleave.__version__}",
        f"  torch {version('torch')}",
        f"  cpu: {torch.get_num_threads()} threads",
        "  https://huggingface.co",
        f"  a: whole, sha256 {package['sha256'][:16]}…",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sha256": "0" * 64}, "  a: DAMAGED: the hash does not fit; reinstall raincleave"),
        ({"file": "b.safetensors"}, "  a: MISSING"),
    ],
)
def test_damaged_weights_fail(package, capsys, change, line):
    package |= change
    assert run(["doctor"]) == 1
    assert line in capsys.readouterr().out


def test_weights_on_the_hub_are_no_fault(package, capsys):
    package |= {"file": None, "hub": {"repo": "me/a", "revision": "0" * 40}}
    assert run(["doctor"]) == 0
    assert "  a: on the Hub, me/a" in capsys.readouterr().out


def test_extras_are_told_with_what_brings_them(package, capsys, monkeypatch):
    own = doctor.metadata.version

    def version_of(name):
        if name == "av":
            raise doctor.metadata.PackageNotFoundError
        return own(name)

    monkeypatch.setattr(doctor.metadata, "version", version_of)
    run(["doctor"])
    said = capsys.readouterr().out
    assert "  av is not installed: pip install 'raincleave[video]'\n" in said
    assert f"  tensorboard {own('tensorboard')}\n" in said


def test_every_extra_is_looked_for():
    needed = [
        re.match(r"([\w-]+).*extra == [\"'](\w+)", line) for line in requires("raincleave") or ()
    ]
    extras = {(found[2], found[1]) for found in needed if found}
    known = set(doctor._EXTRAS.items())
    assert known <= extras
    assert {extra for extra, _ in extras} - {extra for extra, _ in known} == {"docs", "test", "dev"}
