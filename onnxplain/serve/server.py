"""Run the application on a port until the process is told to end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from onnxplain.errors import OptionError
from onnxplain.serve.app import make_app
from onnxplain.serve.service import Service

_BACKLOG = 2048
_MAX_PORT = 65535


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        OptionError: the address or the port cannot be used.
    """
    if not 0 <= port <= _MAX_PORT:
        raise OptionError(f"--port must be 0 to {_MAX_PORT}, and is {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
        raise OptionError(
            f"The port {port} of {host} cannot be used ({why}): choose another with --port or "
            "--host."
        ) from error


def address(listening: socket.socket) -> str:
    """The address of a socket for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Serves until SIGTERM or Ctrl-C.

    Then no more requests are taken and those in hand are answered, while it goes on listening, to
    say that it is not ready. A second signal ends at once. `run([listening])` returns at the end,
    and calls `on_start` when requests are taken.
    """

    def __init__(self, service: Service, on_start: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            make_app(service),
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            proxy_headers=False,
        )
        super().__init__(config)
        self._service, self._on_start = service, on_start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server`, which would end with the signal; the exit status must be 0."""
        if self._is_ending or self._loop is None:
            self._end()
            self.force_exit = True
            return
        self._is_ending = True
        self._loop.call_soon_threadsafe(self._service.close, self._end)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._on_start()

    def _end(self) -> None:
        self.should_exit = True
