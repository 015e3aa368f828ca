"""``python -m lakehouse.replication``: show the slots, set them up, or start one over."""

from __future__ import annotations

import sys

from lakehouse.replication import apply, declared, measure, resnapshot


def main(arguments: list[str]) -> int:
    """Do what the command line says.

    Args:
        arguments: "status", "apply", or "resnapshot" and the name of an Airbyte connection.

    Returns:
        The exit status: 1 if a slot is not well, 2 for arguments that mean nothing.
    """
    feeds = {feed.connection: feed for feed in declared()}
    match arguments:
        case ["status"]:
            lags = [measure(feed) for feed in feeds.values()]
            for lag in lags:
                size = f"{lag.bytes:,} bytes behind, {lag.retained_bytes:,} kept, {lag.seconds:,.0f} s"
                print(f"{lag.connection}: {lag.state}: {lag.message or size}")
            return int(any(lag.state != "ok" for lag in lags))
        case ["apply"]:
            changes = apply()
        case ["resnapshot", name] if name in feeds:
            changes = resnapshot(feeds[name])
        case _:
            print(f"usage: python -m lakehouse.replication status | apply | resnapshot <{' | '.join(feeds)}>")
            return 2
    for change in changes:
        print(f"{change.action} {change.kind} {change.name}{f': {change.detail}' if change.detail else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
