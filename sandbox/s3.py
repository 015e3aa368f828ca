"""The S3 server of the sandbox: ``rclone serve s3`` on plain files below ``<var>/s3``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import httpx

from sandbox.processes import Command
from sandbox.services import Service, answers
from sandbox.settings import LOOPBACK, SandboxError, Settings


def command(settings: Settings) -> Command:
    """Return what starts the server; the keys go through the environment, where ``ps`` does not show them.

    Raises:
        SandboxError: if the rclone program is missing.
    """
    program = Path(sys.executable).parent / "rclone"
    found = str(program) if program.exists() else shutil.which("rclone")
    if found is None:
        raise SandboxError("The rclone program is missing. Run scripts/bootstrap.")
    directory = settings.var / "s3"
    argv = (
        found,
        "serve",
        "s3",
        "--addr",
        f"{LOOPBACK}:{settings.port('s3')}",
        "--log-level",
        "NOTICE",
        str(directory),
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "RCLONE_CONFIG": "/dev/null",  # a person's own remotes have nothing to do with this server
        "RCLONE_AUTH_KEY": f'"{settings["S3_ACCESS_KEY"]},{settings["S3_SECRET_KEY"]}"',
        # The Go runtime gives memory back early: large uploads otherwise keep their peak for minutes.
        "GOGC": "50",
    }
    return Command(argv, environment, settings.var)


def create_buckets(settings: Settings) -> None:
    """Create the buckets, which are the directories at the top, before the server caches what is there."""
    for name in ("S3_BUCKET", "S3_DROPZONE_BUCKET"):
        try:
            (settings.var / "s3" / settings[name]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SandboxError(f"s3: cannot create the bucket {settings[name]}: {error}.") from error


def service(settings: Settings) -> Service:
    """Return the S3 service."""
    return Service(
        name="s3",
        command=lambda: command(settings),
        address=settings["S3_ENDPOINT"],
        # It has no health address; refusing an unsigned request is a sign of life.
        ready=answers(settings["S3_ENDPOINT"], _refuses_unsigned),
        ports=(settings.port("s3"),),
        prepare=lambda: create_buckets(settings),
    )


def _refuses_unsigned(response: httpx.Response) -> bool:
    return response.status_code in (400, 401, 403)
