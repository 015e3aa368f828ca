"""``python -m superset_provider.assets plan | import | export | format FOLDER``: the operators' work, from a shell.

Connections come from where Airflow has them: AIRFLOW_CONN_.., a secrets backend, or its metadata database.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.exceptions import SupersetError

if TYPE_CHECKING:
    from superset_provider.assets.export import Written


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :returns: The exit status: 0 done, 1 nothing was done because of what the message says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m superset_provider.assets", description="Superset's assets as files."
    )
    parser.add_argument(
        "command",
        choices=["plan", "import", "export", "format"],
        help="show what an import would change; change it; write what Superset has into the files; bring the files to "
        "the form of an export",
    )
    parser.add_argument("folder", help="root of the bundle, the folder of metadata.yaml")
    parser.add_argument("--conn-id", default=DEFAULT_CONN_ID, help="Airflow connection (default: %(default)s)")
    parser.add_argument("--dashboard", action="append", help="export: slug of a dashboard that the folder has not yet")
    chosen = parser.parse_args(arguments)
    # Outside of Airflow's own processes its metadata database is not asked for connections unless one says so.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        sys.stdout.write(f"{_run(chosen)}\n")
    except SupersetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(chosen: argparse.Namespace) -> str:
    from superset_provider.assets.apply import apply_assets, plan_assets
    from superset_provider.assets.bundle import read_folder
    from superset_provider.assets.export import export_assets, format_folder
    from superset_provider.hooks.superset import SupersetHook
    from superset_provider.plans import summary

    if chosen.command == "format":
        return _told(format_folder(chosen.folder))
    with SupersetHook(chosen.conn_id) as hook:
        if chosen.command == "export":
            return _told(export_assets(hook, chosen.folder, chosen.dashboard))
        plan = plan_assets(hook, read_folder(chosen.folder))
        if chosen.command == "import":
            apply_assets(hook, plan)
        return summary(plan.steps)


def _told(written: Sequence[Written]) -> str:
    lines = [str(entry) for entry in written if entry.action != "same" or entry.note]
    return "\n".join(lines) or "nothing to change"


if __name__ == "__main__":
    raise SystemExit(main())
