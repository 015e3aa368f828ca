"""Command line of the shop: ``python -m sandbox.shop load``."""

from __future__ import annotations

import argparse
import sys

from sandbox.shop.load import load
from sandbox.shop.settings import ShopError, from_environment


def main() -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 2 wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.shop", description="The shop's source data.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("load", help="fill PostgreSQL, the drop zone and the payments (SANDBOX_SCALE, SHOP_LAST_DAY)")
    parser.parse_args()
    settings = from_environment()
    try:
        load(settings)
    except ShopError as error:
        print(f"shop: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
