"""``python -m sandbox.airbyte``: the public API and the old Config API in one process."""

from __future__ import annotations

from sandbox.airbyte import config_api, public_api
from sandbox.airbyte.state import State
from sandbox.serving import port, required, serve, var_dir

PUBLIC_PORT = 8000
CONFIG_PORT = 8001


def main() -> None:
    """Serve until SIGTERM.

    Raises:
        SystemExit: with code 2 if a setting is missing or a port is taken.
    """
    state = State.open(var_dir("airbyte"), required("AIRBYTE_CLIENT_ID"), required("AIRBYTE_CLIENT_SECRET"))
    try:
        apps = [(public_api.create_app(state), port(PUBLIC_PORT)), (config_api.create_app(state), port(CONFIG_PORT))]
        serve(apps, "airbyte")
    finally:
        state.close()


if __name__ == "__main__":
    main()
