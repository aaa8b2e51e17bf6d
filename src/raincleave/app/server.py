"""The server of the page: what it may be told, and its life from the port to the last file."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from raincleave.errors import ConfigError

if TYPE_CHECKING:
    from raincleave.app.page import Page
    from raincleave.models import Derainer

_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Options:
    """What the server is told; see `raincleave.commands.app.app`."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    max_megapixels: float = 50
    max_megabytes: float = 100
    queue: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"--port is from 1 to 65535, not {self.port}.")
        for name in ("max_megapixels", "max_megabytes", "queue"):
            if not getattr(self, name) > 0:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} is more than 0, not {getattr(self, name):g}.")

    @property
    def where(self) -> str:
        """A sentence on where pictures go; empty where it is not on the visitor's computer."""
        local = self.host.strip("[]") in _LOCAL and not self.share
        return "It stays on this computer." if local else ""


@contextmanager
def serving(
    weights: list[str], load: "Callable[[str], Derainer]", options: Options
) -> Iterator[str]:
    """A server as long as the context lasts; gives its address.

    Args:
        weights: models that are loaded at once, before the named checkpoints.
        load: loads one, onto the device that is meant.
        options: where it listens and what it takes.

    Raises:
        ConfigError: the port is taken, or no public address is to be had.
        CheckpointError: a model cannot be loaded.
    """
    _check_free(options)
    with TemporaryDirectory(prefix="raincleave-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _gradio_told(folder, options.host):
            from raincleave.app.choice import Models
            from raincleave.app.page import Page
            from raincleave.hub import DEFAULT, list_models

            models = Models([*weights, DEFAULT, *list_models()], load)
            for label in models.names[: len(weights)]:
                models.get(label)
            with _launched(Page(models, folder, options), options) as address:
                yield address


@contextmanager
def _launched(page: "Page", options: Options) -> Iterator[str]:
    from raincleave.app.style import dress

    blocks = page.blocks()
    # Gradio makes an address of it, in which IPv6 has brackets.
    host = f"[{options.host.strip('[]')}]" if ":" in options.host else options.host
    try:
        try:
            blocks.launch(
                server_name=host,
                server_port=options.port,
                share=options.share,
                quiet=True,
                prevent_thread_lock=True,
                inline=False,
                max_file_size=int(options.max_megabytes * 2**20),
                footer_links=[],
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                **dress(),
            )
        except OSError as error:  # taken since it was looked at
            raise _taken(options) from error
        if options.share and not blocks.share_url:
            raise ConfigError("gradio.live gave no public address; leave --share out.")
        yield str(blocks.share_url or blocks.local_url)
    finally:
        page.close()
        blocks.close(verbose=False)


def _check_free(options: Options) -> None:
    """Tell of a taken port before any model is loaded."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host.strip("[]"), options.port))
        except OSError as error:
            raise _taken(options) from error


def _taken(options: Options) -> ConfigError:
    return ConfigError(
        f"{options.host}:{options.port} cannot be used, perhaps by another program already; "
        "give another --port or --host."
    )


@contextmanager
def _gradio_told(folder: Path, host: str) -> Iterator[None]:
    """What only the environment tells Gradio: keep files in our folder, report nothing."""
    hosts = [os.environ.get("no_proxy", ""), "127.0.0.1", "localhost", host.strip("[]")]
    settings = {
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        # It asks itself whether it is there, which no proxy should answer.
        "no_proxy": ",".join(filter(None, hosts)),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
