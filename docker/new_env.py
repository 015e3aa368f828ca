"""Write .env from .env.example with a fresh secret for everything that only has to be random."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = re.compile(r"(PASSWORD|SECRET_KEY|ACCESS_KEY|JWT_SECRET|FERNET_KEY)$")


def main() -> int:
    """Create .env, readable by its owner only, and name what is left to fill in; an .env that is there is kept."""
    target = ROOT / ".env"
    lines, empty = [], []
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not value and not line.startswith("#"):
            if GENERATED.search(name):
                line = f"{name}={_secret(name)}"
            else:
                empty.append(name)
        lines.append(line)
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists and stays as it is. Move it away to get a new one.", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    print(f"{target} written. Still to fill in: {', '.join(empty)}.")
    return 0


def _secret(name: str) -> str:
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    # Letters and digits only: the value goes into URLs and JSON. The prefix satisfies rules that want one of each.
    return f"a1{secrets.token_hex(24)}"


if __name__ == "__main__":
    sys.exit(main())
