"""Brings Superset's metadata database to where it has to be: schema, roles, admin. Runs in Superset's environment.

``superset db upgrade``, ``superset fab create-admin`` and ``superset init`` are three programs that each spend ten
seconds on importing Superset; this is one.
"""

from __future__ import annotations

import os
from importlib import import_module


def main() -> None:
    """Upgrade the schema, create or update the admin, synchronise the roles; safe to repeat."""
    app = import_module("superset.app").create_app()
    with app.app_context():
        superset = import_module("superset")  # its globals exist within an application only
        appbuilder, security_manager = superset.appbuilder, superset.security_manager

        import_module("flask_migrate").upgrade(directory=os.path.join(app.root_path, "migrations"))
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()

        user, password = os.environ["SUPERSET_USER"], os.environ["SUPERSET_PASSWORD"]
        found = security_manager.find_user(username=user)
        if found is None:
            role = security_manager.find_role("Admin")
            created = security_manager.add_user(user, "Platform", "Admin", "admin@example.com", role, password=password)
            if not created:
                raise SystemExit("Superset did not create the admin; see the lines above.")
        else:
            security_manager.reset_password(found.id, password)


if __name__ == "__main__":
    main()
