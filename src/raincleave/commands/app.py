"""``raincleave app``: a page in the browser, on this computer alone unless asked otherwise."""

import signal
import threading
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

from raincleave.app.server import Options, serving
from raincleave.commands.device import load_on
from raincleave.errors import ConfigError


def add_arguments(parser: Any) -> None:
    """Adds the options, some by hand: a signature knows no ``MODEL ...`` and no flag."""
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="more models, by name, file or hf:// repository; the first is chosen at the start",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="also through a public address of gradio.live, for whoever knows it",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=50,
        metavar="N",
        help="the largest picture that is taken, in millions of pixels (default: 50)",
    )
    parser.add_argument(
        "--max-megabytes",
        type=float,
        default=100,
        metavar="N",
        help="the largest file that is taken, in MiB (default: 100)",
    )
    by_hand = {"weights", "share", "max_megapixels", "max_megabytes"}
    parser.add_function_arguments(app, skip=by_hand)


def app(
    *,
    weights: list[str],
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    device: str = "auto",
    max_megapixels: float = 50,
    max_megabytes: float = 100,
    queue: int = 16,
) -> None:
    """Serve a page that derains pictures, until Ctrl-C.

    Pictures and results lie in a temporary folder, for a day at most, and not beyond the end.

    Args:
        weights: more models than the named checkpoints.
        host: the address to listen at; 0.0.0.0 is every network this computer is in.
        port: where it listens.
        share: also through a public address of gradio.live.
        device: auto, cpu, cuda, cuda:1, mps ...; auto takes the GPU if there is one.
        max_megapixels: the largest picture that is taken, in millions of pixels.
        max_megabytes: the largest file that is taken, in MiB.
        queue: how many pictures may wait while one is derained.

    Raises:
        ConfigError: gradio is missing, the port is taken, or an option makes no sense.
        CheckpointError: a model cannot be loaded.
    """
    if find_spec("gradio") is None:
        raise ConfigError('the page needs gradio; install it with `pip install "raincleave[app]"`.')
    options = Options(host, port, share, max_megapixels, max_megabytes, queue)
    if threading.current_thread() is threading.main_thread():
        # Also when its terminal is closed, if it is not to outlive that, as under nohup.
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        serving(weights, partial(load_on, device=device), options) as address,
    ):
        print(f"raincleave is at {address}; Ctrl-C ends it.", flush=True)
        _wait()


def _wait() -> None:
    # In turns: Windows hears no Ctrl-C while a thread waits without end.
    while not threading.Event().wait(0.5):
        pass
