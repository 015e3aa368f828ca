"""Further users to warm as: row-level security gives them cache entries of their own."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from superset_provider.connection import PASSWORD, SupersetSettings
from superset_provider.exceptions import (
    SupersetAuthenticationError,
    SupersetConfigurationError,
    SupersetNotFoundError,
)
from superset_provider.hooks.rest import AsyncRestClient
from superset_provider.hooks.superset_async import SupersetAsyncHook

ROLES_PATH = "/api/v1/security/roles/"
USERS_PATH = "/api/v1/security/users/"
CLEAN_UP_SECONDS = 20.0
# Whatever FAB_PASSWORD_COMPLEXITY_ENABLED asks for besides length.
_COMPLEX = "Aa1-Bb2_c"


@asynccontextmanager
async def service_user(
    hook: SupersetAsyncHook, prefix: str, roles: Sequence[str], **options: Any
) -> AsyncIterator[AsyncRestClient]:
    """A client that is logged in as a user with exactly these roles.

    The user has one name for these roles in this task, gets a new random password each time, which nobody ever sees,
    and is deactivated at the end, whatever ends it.

    :param hook: Of a user who may edit users: the role Admin.
    :param prefix: What the name starts with.
    :param roles: Names of Superset roles.
    :param options: For :class:`AsyncRestClient`.
    :raises SupersetConfigurationError: Superset's security API is off, or this user may not use it.
    :raises SupersetNotFoundError: There is no such role.
    """
    name = f"{prefix}_{hashlib.sha256(json.dumps(sorted(roles)).encode()).hexdigest()[:12]}"
    password = secrets.token_urlsafe(32) + _COMPLEX
    try:
        user_id = await _make(hook, name, password, roles)
        try:
            settings = dataclasses.replace(hook.settings, auth=PASSWORD, login=name, password=password, provider="db")
            client = await asyncio.to_thread(AsyncRestClient, settings, **options)
            try:
                await _check_login(client, roles)
                yield client
            finally:
                await client.close()
        finally:
            # Shielded: it is also reached when the warm-up is cancelled, and must not end half way.
            await asyncio.shield(asyncio.ensure_future(_deactivate(hook, user_id)))
    except (SupersetAuthenticationError, SupersetNotFoundError) as error:
        if not (error.asked or "").split(" ")[-1].startswith((ROLES_PATH, USERS_PATH)):
            raise
        raise _cannot_manage_users(hook.settings, error) from error


async def _make(hook: SupersetAsyncHook, name: str, password: str, roles: Sequence[str]) -> int:
    body = {"active": True, "password": password, "roles": [await _role_id(hook, role) for role in roles]}
    found = await hook.request("GET", USERS_PATH, params=_equal("username", name))
    if found["result"]:
        user_id = int(found["result"][0]["id"])
        await hook.request("PUT", f"{USERS_PATH}{user_id}", json=body)
        return user_id
    person = {
        "username": name,
        "first_name": "Airflow warm-up",
        "last_name": ", ".join(roles)[:64],
        # A reserved domain (RFC 2606): nothing can ever be sent to it.
        "email": f"{name}@airflow.invalid",
    }
    return int((await hook.request("POST", USERS_PATH, json={**person, **body}))["id"])


async def _role_id(hook: SupersetAsyncHook, role: str) -> int:
    found = await hook.request("GET", ROLES_PATH, params=_equal("name", role))
    if found["result"]:
        return int(found["result"][0]["id"])
    listed = await hook.request("GET", ROLES_PATH, params={"q": json.dumps({"page_size": 100})})
    names = sorted(str(entry["name"]) for entry in listed["result"])
    near = difflib.get_close_matches(role, names, n=3) or names
    raise SupersetNotFoundError(
        f"Superset has no role {role!r}.", address=hook.address, check=f"the name; there are {', '.join(near)}."
    )


def _equal(column: str, value: str) -> dict[str, str]:
    return {"q": json.dumps({"filters": [{"col": column, "opr": "eq", "value": value}]})}


async def _check_login(client: AsyncRestClient, roles: Sequence[str]) -> None:
    try:
        await client.request("GET", "/api/v1/me/")
    except SupersetAuthenticationError as error:
        raise SupersetConfigurationError(
            f"The service user with the roles {', '.join(roles)} cannot log in with the password it was given.",
            address=client.settings.address,
            received=error.received,
            check="that Superset checks passwords itself (AUTH_TYPE = AUTH_DB); otherwise name Airflow connections of "
            "real users in as_users. Two warm-ups of one task at the same time also take the password from each other.",
        ) from error


async def _deactivate(hook: SupersetAsyncHook, user_id: int) -> None:
    async with asyncio.timeout(CLEAN_UP_SECONDS):
        body = {"active": False, "password": secrets.token_urlsafe(32) + _COMPLEX}
        await hook.request("PUT", f"{USERS_PATH}{user_id}", json=body)


def _cannot_manage_users(
    settings: SupersetSettings, error: SupersetAuthenticationError | SupersetNotFoundError
) -> SupersetConfigurationError:
    if isinstance(error, SupersetNotFoundError):
        check = "FAB_ADD_SECURITY_API = True in Superset's configuration (the API for users and roles is off)"
    else:
        check = f"that the user of the Airflow connection {settings.conn_id!r} has the role Admin (can write on User)"
    return SupersetConfigurationError(
        "The operator's argument roles needs a user that may manage Superset's users.",
        asked=error.asked,
        address=settings.address,
        received=error.received,
        check=f"{check}; or name Airflow connections of real users in as_users instead.",
        status_code=error.status_code,
    )
