"""Start the sandbox Dremio: REST on 9047 and Arrow Flight on 32010, both moved by SANDBOX_PORT_OFFSET."""

from __future__ import annotations

from sandbox.dremio.server import Server
from sandbox.serving import port, required, serve, var_dir


def main() -> None:
    """Run until SIGTERM."""
    user, password = required("DREMIO_USER"), required("DREMIO_PASSWORD")
    server = Server(var_dir("dremio"), user, password)
    try:
        server.start(port(32010))
        serve([(server.application(), port(9047))], "dremio")
    finally:
        server.close()


if __name__ == "__main__":
    main()
