"""Create Dremio's first user, its administrator. A Dremio that has users already is only checked."""

from __future__ import annotations

import os
import sys
import time

import httpx


def main() -> int:
    """Create the user DREMIO_USER on the server at DREMIO_URL, then log in as that user.

    Returns:
        0 if the user can log in, 1 if not.
    """
    url, user, password = (os.environ[name] for name in ("DREMIO_URL", "DREMIO_USER", "DREMIO_PASSWORD"))
    with httpx.Client(base_url=url, timeout=30) as client:
        first = client.put(
            "/apiv2/bootstrap/firstuser",
            headers={"Authorization": "_dremionull"},
            json={
                "userName": user,
                "firstName": "Platform",
                "lastName": "Admin",
                "email": "admin@example.com",
                "createdAt": int(time.time() * 1000),
                "password": password,
            },
        )
        login = client.post("/apiv2/login", json={"userName": user, "password": password})
    if login.is_success:
        print(f"Dremio at {url}: {user} {'created' if first.is_success else 'is there'}")
        return 0
    print(
        f"Dremio at {url}: {user} cannot log in (HTTP {login.status_code}), and creating the first user gave HTTP "
        f"{first.status_code}. A password needs 8 characters with a letter and a digit; if Dremio has users already, "
        f"put the administrator's password into DREMIO_PASSWORD.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
