"""What every server of the sandbox needs: settings from the environment, and a loopback listener that stops cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

LOOPBACK = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parent.parent
STOP_SECONDS = 3
"""How long requests under way may take to finish after SIGTERM; servers promise to be gone within five seconds."""

KEEP_ALIVE_SECONDS = 60
"""How long an idle connection stays open. With uvicorn's 5 s a client that polls on a busy machine meets a connection
that is being closed under it; the real servers wait half a minute and more."""

AsgiApplication = Callable[..., Awaitable[None]]

logger = logging.getLogger(__name__)


def fail(message: str) -> NoReturn:
    """End the process with exit status 2 and one line on standard error.

    Raises:
        SystemExit: always, with code 2.
    """
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(2)


def required(name: str) -> str:
    """Return the environment variable ``name``.

    Raises:
        SystemExit: with code 2 and one line that names the variable, if it is missing or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        fail(f"{name} is not set. Start the platform with `make up`, or `set -a; . var/sandbox.env; set +a` first.")
    return value


def port(base: int) -> int:
    """Return the real port ``base`` moved by ``SANDBOX_PORT_OFFSET``.

    Raises:
        SystemExit: with code 2 if the offset is not an integer or leads out of 1..65535.
    """
    raw = os.environ.get("SANDBOX_PORT_OFFSET", "") or "0"
    try:
        moved = base + int(raw)
    except ValueError:
        fail(f"SANDBOX_PORT_OFFSET={raw!r} is not an integer.")
    if not 1 <= moved <= 65535:
        fail(f"SANDBOX_PORT_OFFSET={raw} moves port {base} to {moved}, which is not between 1 and 65535.")
    return moved


def var_root() -> Path:
    """Return the directory of all state: ``SANDBOX_VAR``, or ``var`` in the repository."""
    configured = os.environ.get("SANDBOX_VAR", "")
    return Path(configured).resolve() if configured else REPOSITORY / "var"


def var_dir(name: str) -> Path:
    """Return the state directory of one server, ``<SANDBOX_VAR>/<name>``, created if it is missing."""
    path = var_root() / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def listen(port_number: int, name: str) -> socket.socket:
    """Open a listening socket on loopback.

    Args:
        port_number: the port to bind.
        name: the server's name, for the message.

    Raises:
        SystemExit: with code 2 and one line if the port is taken.
    """
    # asyncio turns Nagle's algorithm off only where the protocol is named: 40 ms a request without it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port_number))
        listener.listen(128)
    except OSError as error:
        listener.close()
        fail(
            f"{name}: cannot listen on {LOOPBACK}:{port_number} ({error.strerror}). "
            f"Stop what uses the port, or set SANDBOX_PORT_OFFSET to move all ports."
        )
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to :func:`serve`, which has several of them to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(apps: Sequence[tuple[AsgiApplication, int]], name: str) -> None:
    """Serve several ASGI applications in this process until SIGTERM or SIGINT.

    The applications share one event loop, so one lock or one connection pool may serve all of them. Every application's
    lifespan runs; requests under way get :data:`STOP_SECONDS` to finish.

    Args:
        apps: pairs of application and port; every port is bound on loopback before the first application starts.
        name: the server's name, for log lines and messages.

    Raises:
        SystemExit: with code 2 if a port is taken, with code 3 if an application's start-up failed.
    """
    logging.basicConfig(
        level=os.environ.get("SANDBOX_LOG_LEVEL", "INFO").upper(),
        format=f"%(asctime)s %(levelname)s {name} %(name)s: %(message)s",
        stream=sys.stdout,
    )
    listeners = [listen(number, name) for _, number in apps]
    servers = [_Server(_config(app)) for app, _ in apps]
    asyncio.run(_run(servers, listeners, name))


def _config(app: AsgiApplication) -> uvicorn.Config:
    options: dict[str, Any] = {
        "log_config": None,  # the root logger writes to stdout, where the platform collects it
        "access_log": False,
        "timeout_graceful_shutdown": STOP_SECONDS,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "server_header": False,
    }
    return uvicorn.Config(app, **options)


async def _run(servers: Sequence[_Server], listeners: Sequence[socket.socket], name: str) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    pairs = zip(servers, listeners, strict=True)
    tasks = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in pairs]
    addresses = ", ".join("{}:{}".format(*listener.getsockname()) for listener in listeners)
    logger.info("listening on %s", addresses)
    # One application that fails to start must not leave the other half of the server running.
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stop()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    if not all(server.started for server in servers):
        print(f"{name}: start-up failed, see the lines above.", file=sys.stderr, flush=True)
        raise SystemExit(3)
