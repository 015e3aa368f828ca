"""Addresses, users and passwords of one sandbox: generated once, kept in ``<var>/sandbox.env`` (mode 600)."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import string
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.shop.settings import DEFAULT_SCALE, LARGEST_SCALE, SMALLEST_SCALE

REPOSITORY = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"

BASE_PORTS: dict[str, int] = {
    "postgres": 5432,
    "s3": 9000,
    "airbyte": 8000,
    "airbyte_config": 8001,
    "dremio": 9047,
    "dremio_flight": 32010,
    "elasticsearch": 9200,
    "payment_provider": 8070,
    "superset": 8088,
    "airflow": 8080,
}
"""The ports that the real systems use; ``SANDBOX_PORT_OFFSET`` moves all of them."""

OWNER_VARIABLE = "SANDBOX_ID"
"""Environment variable that marks every process the platform started."""

DATABASES = ("shop", "platform", "airflow", "superset")
"""PostgreSQL databases; each belongs to a user of the same name."""

# What of the caller's environment a service may see. Anything else (AIRFLOW__*, DBT_*, PYTHONPATH, a proxy for
# loopback addresses) would make the platform behave differently on every machine.
_INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
_INHERITED_PREFIXES = ("SANDBOX_", "SHOP_")


class SandboxError(Exception):
    """Something a person can put right; its text is the whole message, without a traceback."""


def _password() -> str:
    """Return 24 letters and digits with at least one of each: safe in a URL, a shell and rclone's key list."""
    alphabet = string.ascii_letters + string.digits
    while True:
        value = "".join(secrets.choice(alphabet) for _ in range(24))
        if any(c.isdigit() for c in value) and any(c.isalpha() for c in value):
            return value


def _access_key() -> str:
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(20))


def _fernet_key() -> str:
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()


_GENERATED: dict[str, Callable[[], str]] = {
    "POSTGRES_ADMIN_PASSWORD": _password,
    **{f"{database.upper()}_POSTGRES_PASSWORD": _password for database in DATABASES},
    "S3_ACCESS_KEY": _access_key,
    "S3_SECRET_KEY": _password,
    "AIRBYTE_CLIENT_ID": lambda: str(uuid.uuid4()),
    "AIRBYTE_CLIENT_SECRET": _password,
    "DREMIO_PASSWORD": _password,
    "SUPERSET_PASSWORD": _password,
    "SUPERSET_SECRET_KEY": _password,
    "AIRFLOW_PASSWORD": _password,
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_JWT_SECRET": _password,
    "AIRFLOW_SECRET_KEY": _password,
    "PAYMENT_PROVIDER_TOKEN": _password,
}

_REMEMBERED = ("AIRBYTE_CONNECTION_ORDERS",)
"""Found out while the platform runs, kept from then on."""


@dataclass
class Settings(Mapping[str, str]):
    """All settings of one sandbox, by the names they have in ``sandbox.env``.

    Args:
        var: directory of all state.
        offset: what is added to every port of :data:`BASE_PORTS`.
        entries: the content of ``sandbox.env``.
    """

    var: Path
    offset: int
    entries: dict[str, str] = field(repr=False)

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings of the sandbox, generate what is missing, and write the file if anything changed.

        Args:
            environment: where ``SANDBOX_VAR``, ``SANDBOX_PORT_OFFSET`` and ``SANDBOX_SCALE`` come from; default: the
                process environment. What is not set there keeps the value it had in the file.

        Raises:
            SandboxError: if a variable is malformed or the file cannot be read or written.
        """
        environment = os.environ if environment is None else environment
        var = Path(environment.get("SANDBOX_VAR") or REPOSITORY / "var").resolve()
        stored = read_env_file(var / "sandbox.env")
        offset = _offset(environment.get("SANDBOX_PORT_OFFSET") or stored.get("SANDBOX_PORT_OFFSET") or "0")
        scale = _scale(environment.get("SANDBOX_SCALE") or stored.get("SANDBOX_SCALE") or DEFAULT_SCALE)
        generated = {name: stored.get(name) or make() for name, make in _GENERATED.items()}
        remembered = {name: stored.get(name, "") for name in _REMEMBERED}
        values = {
            "SANDBOX_VAR": str(var),
            "SANDBOX_PORT_OFFSET": str(offset),
            "SANDBOX_SCALE": scale,
            **generated,
            **_addresses(offset, generated),
            **remembered,
        }
        settings = cls(var, offset, values)
        if values != stored:
            settings.save()
        return settings

    def __getitem__(self, name: str) -> str:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def path(self) -> Path:
        """The file that holds the settings."""
        return self.var / "sandbox.env"

    def port(self, name: str) -> int:
        """Return the port of the server ``name`` (a key of :data:`BASE_PORTS`)."""
        return BASE_PORTS[name] + self.offset

    def remember(self, name: str, value: str) -> None:
        """Keep a value that was found out while the platform runs, e.g. an Airbyte connection id."""
        if name not in _REMEMBERED:
            raise KeyError(name)
        if self.entries[name] != value:
            self.entries[name] = value
            self.save()

    def save(self) -> None:
        """Write ``sandbox.env``, readable by its owner only and sourceable by a POSIX shell."""
        lines = ["# Addresses and credentials of this sandbox. Use them: set -a; . <this file>; set +a\n"]
        lines += [f"{name}={shlex.quote(value)}\n" for name, value in sorted(self.entries.items())]
        write_atomically(self.path, "".join(lines), mode=0o600)

    def child_environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a service: a few of ours, all settings, and ``extra``.

        :data:`OWNER_VARIABLE` is added; by it the platform finds its processes whatever became of their parents.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        # Not part of the file: a person who sources it must not have their own programs taken for ours.
        mark = {OWNER_VARIABLE: sandbox_id(self.var)}
        return {**inherited, "PYTHONUNBUFFERED": "1", **self.entries, **extra, **mark}


def sandbox_id(var: Path) -> str:
    """Return the value of :data:`OWNER_VARIABLE` in all processes of the sandbox with state directory ``var``."""
    return hashlib.sha256(str(var.resolve()).encode()).hexdigest()[:16]


def read_env_file(path: Path) -> dict[str, str]:
    """Return the ``KEY=value`` pairs of a shell-sourceable file; an absent file is empty.

    Raises:
        SandboxError: if the file cannot be read or a line is neither a comment nor an assignment.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SandboxError(
            f"Cannot read {path}: {error.strerror}. It belongs to whoever ran `make up` first."
        ) from error
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, quoted = line.partition("=")
        try:
            words = shlex.split(quoted)
        except ValueError:
            words = ["", ""]
        if not separator or not name.isidentifier() or len(words) > 1:
            raise SandboxError(f"{path}, line {number}: expected NAME=value. Repair the line, or `make reset`.")
        values[name] = words[0] if words else ""
    return values


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the file by ``text`` so that a reader, or a crash, sees the old content or the new one.

    Raises:
        SandboxError: if the file cannot be written (disk full, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SandboxError(f"Cannot write {path}: {error.strerror}.") from error


def _offset(raw: str) -> int:
    try:
        offset = int(raw)
    except ValueError as error:
        raise SandboxError(f"SANDBOX_PORT_OFFSET={raw!r} is not an integer.") from error
    low, high = min(BASE_PORTS.values()) + offset, max(BASE_PORTS.values()) + offset
    if low < 1024 or high > 65535:
        raise SandboxError(f"SANDBOX_PORT_OFFSET={raw} moves the ports to {low}..{high}; they must be in 1024..65535.")
    return offset


def _scale(raw: str) -> str:
    try:
        good = SMALLEST_SCALE <= float(raw) <= LARGEST_SCALE
    except ValueError:
        good = False
    if not good:
        raise SandboxError(
            f"SCALE={raw!r} is not a number from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g} (1 is 1 500 000 orders)."
        )
    return raw


def _addresses(offset: int, generated: Mapping[str, str]) -> dict[str, str]:
    """Return everything that follows from the offset and the passwords."""

    def url(name: str, scheme: str = "http") -> str:
        return f"{scheme}://{LOOPBACK}:{BASE_PORTS[name] + offset}"

    def dsn(user: str, password_name: str, database: str) -> str:
        return f"postgresql://{user}:{generated[password_name]}@{LOOPBACK}:{BASE_PORTS['postgres'] + offset}/{database}"

    return {
        "POSTGRES_ADMIN_DSN": dsn("postgres", "POSTGRES_ADMIN_PASSWORD", "postgres"),
        "SOURCE_POSTGRES_DSN": dsn("shop", "SHOP_POSTGRES_PASSWORD", "shop"),
        "METADATA_POSTGRES_DSN": dsn("platform", "PLATFORM_POSTGRES_PASSWORD", "platform"),
        "AIRFLOW_POSTGRES_DSN": dsn("airflow", "AIRFLOW_POSTGRES_PASSWORD", "airflow"),
        "SUPERSET_POSTGRES_DSN": dsn("superset", "SUPERSET_POSTGRES_PASSWORD", "superset"),
        "S3_ENDPOINT": url("s3"),
        "S3_REGION": "us-east-1",
        "S3_BUCKET": "datalake",
        "S3_DROPZONE_BUCKET": "dropzone",
        "AIRBYTE_URL": url("airbyte"),
        "AIRBYTE_CONFIG_URL": url("airbyte_config"),
        "DREMIO_URL": url("dremio"),
        "DREMIO_FLIGHT": url("dremio_flight", "grpc"),
        "DREMIO_USER": "admin",
        "ELASTICSEARCH_URL": url("elasticsearch"),
        "SUPERSET_URL": url("superset"),
        "SUPERSET_USER": "admin",
        "AIRFLOW_URL": url("airflow"),
        "AIRFLOW_USER": "admin",
        "PAYMENT_PROVIDER_URL": url("payment_provider"),
    }
