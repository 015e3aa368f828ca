"""Serve a real Superset with its own metadata, from one process: usage serve_superset.py <folder> <port>.

Runs under the Superset environment's Python. One process migrates, initialises and serves, because importing
Superset takes longer than any of the three.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

CONFIG = """
SQLALCHEMY_DATABASE_URI = "sqlite:///{home}/metadata.db"
SECRET_KEY = "{secret}"
TALISMAN_ENABLED = False
PREVENT_UNSAFE_DB_CONNECTIONS = False
RATELIMIT_ENABLED = False
def _cache(name):
    place = {{"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "{home}/" + name}}
    return {{**place, "CACHE_DEFAULT_TIMEOUT": 86400, "CACHE_THRESHOLD": 0}}
DATA_CACHE_CONFIG = _cache("data")
CACHE_CONFIG = _cache("meta")
FILTER_STATE_CACHE_CONFIG = _cache("filter")
EXPLORE_FORM_DATA_CACHE_CONFIG = _cache("explore")
"""


def main(home: Path, port: int) -> None:
    config = home / "superset_config.py"
    config.write_text(CONFIG.format(home=home, secret=secrets.token_hex(32)))
    os.environ.update(SUPERSET_HOME=str(home), SUPERSET_CONFIG_PATH=str(config))

    import superset
    from flask_migrate import upgrade
    from superset.app import create_app
    from werkzeug.serving import run_simple

    app = create_app()
    with app.app_context():
        upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
        superset.appbuilder.add_permissions(update_perms=True)
        superset.security_manager.sync_role_definitions()
        admin = superset.security_manager.find_role("Admin")
        superset.security_manager.add_user(
            "admin", "A", "Admin", "admin@localhost", admin, password=os.environ["SUPERSET_PASSWORD"]
        )
    run_simple("127.0.0.1", port, app, threaded=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
