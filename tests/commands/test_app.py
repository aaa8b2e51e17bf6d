"""The command around the server: what it is told, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from raincleave.app.server import Options
from raincleave.cli import run
from raincleave.commands import app


@pytest.fixture
def served(monkeypatch):
    """What the server was told; it gets Ctrl-C as soon as it stands."""
    told = []

    @contextmanager
    def serving(weights, load, options):
        told.append((weights, load.keywords, options))
        yield "http://127.0.0.1:7860/"
        told.append("closed")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "serving", serving)
    monkeypatch.setattr(app, "_wait", interrupted)
    return told


def test_ends_quietly_and_is_local_by_default(served, capsys):
    assert run(["app"]) == 0
    assert served[0] == ([], {"device": "auto"}, Options("127.0.0.1", 7860, False, 50, 100, 16))
    out, err = capsys.readouterr()
    assert out == "raincleave is at http://127.0.0.1:7860/; Ctrl-C ends it.\n"
    assert err == ""


def test_options(served):
    given = "--weights a.safetensors b.ckpt --port 80 --host ::1 --share --device cpu --queue 3"
    assert run(["app", *given.split(), "--max-megapixels", "2.5", "--max-megabytes", "9"]) == 0
    assert served[0] == (
        ["a.safetensors", "b.ckpt"],
        {"device": "cpu"},
        Options("::1", 80, True, 2.5, 9, 3),
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "99999"], "--port is from 1 to 65535, not 99999."),
        (["--queue", "0"], "--queue is more than 0, not 0."),
        (["--max-megapixels", "-1"], "--max-megapixels is more than 0, not -1."),
    ],
)
def test_options_that_make_no_sense(served, capsys, options, sentence):
    assert run(["app", *options]) == 1
    assert capsys.readouterr().err == f"raincleave: {sentence}\n"


def test_without_gradio(monkeypatch, capsys):
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert run(["app"]) == 1
    assert capsys.readouterr().err == (
        'raincleave: the page needs gradio; install it with `pip install "raincleave[app]"`.\n'
    )


def test_a_port_in_use(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run(["app", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"raincleave: 127.0.0.1:{port} cannot be used, perhaps by another program already; "
        "give another --port or --host.\n"
    )


def test_only_local_pages_promise_that_pictures_stay():
    for host in ("127.0.0.1", "::1", "[::1]"):
        assert Options(host=host).where == "It stays on this computer."
    assert Options(host="0.0.0.0").where == Options(share=True).where == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "host", "family"),
    [
        ("SIGINT", "127.0.0.1", socket.AF_INET),
        ("SIGTERM", "127.0.0.2", socket.AF_INET),
        ("SIGHUP", "::1", socket.AF_INET6),
    ],
)
def test_it_ends_in_earnest_and_minds_no_proxy(tmp_path, ending, host, family):
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is no address here")
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "raincleave", "app", "--port", str(port), "--host", host]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "http_proxy": "http://127.0.0.1:9"},
    ) as process:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        assert process.stdout.readline().startswith(f"raincleave is at {address}")
        assert len(list(tmp_path.glob("raincleave-*"))) == 1
        process.send_signal(getattr(signal, ending))
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.glob("raincleave-*")) == []
