"""Pictures of the dashboards of a running platform: each tab, light and dark, for docs/images.

    make screenshots

Needs Chromium and a platform that `make demo` has filled. Which Superset, and who looks at it, is in SUPERSET_URL,
SUPERSET_USER and SUPERSET_PASSWORD; make takes them from the sandbox's env file.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from playwright.sync_api import Page

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.browser import Person, chromium, logged_in  # noqa: E402

WIDTH, HEIGHT = 1600, 3200
SCALE = 0.75
"""Pixels of the picture for one of the page: still legible, and all of them together below 2 MB."""
_TILES = ".dashboard-component-chart-holder, .dashboard-markdown"


def take(address: str, user: str, password: str, folder: Path) -> Iterator[Path]:
    """Take the pictures.

    Args:
        address: Root of Superset.
        user: Who looks at the dashboards.
        password: The user's.
        folder: Receives ``<slug>-<tab>-<light|dark>.png``.

    Yields:
        each picture when it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {"viewport": {"width": WIDTH, "height": HEIGHT}, "device_scale_factor": SCALE}
    with chromium() as browser:
        for mode in ("light", "dark"):
            with logged_in(browser, address, user, password, dark=mode == "dark", **options) as person:
                for slug in _slugs():
                    yield from _take_tabs(person, slug, mode, folder)


def _take_tabs(person: Person, slug: str, mode: str, folder: Path) -> list[Path]:
    written: list[Path] = []

    def look(page: Page, tab: str) -> None:
        written.append(folder / f"{slug}-{_name(tab)}-{mode}.png")
        _write(page, written[-1])

    person.open(f"/superset/dashboard/{slug}/", tabs=True, look=look)
    return written


def _slugs() -> list[str]:
    paths = sorted((REPOSITORY / "include/superset/assets/dashboards").glob("*.yaml"))
    return [yaml.safe_load(path.read_text(encoding="utf-8"))["slug"] for path in paths]


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _write(page: Page, path: Path) -> None:
    """Write what is on the page, down to its last tile."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # the charts' own animation
    boxes = [tile.bounding_box() for tile in page.locator(_TILES).all() if tile.is_visible()]
    bottom = max(box["y"] + box["height"] for box in boxes if box)
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": min(bottom + 24, HEIGHT)})


def main() -> None:
    """Take the pictures of the running platform."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "docs/images")
    address, user, password = (os.environ[f"SUPERSET_{name}"] for name in ("URL", "USER", "PASSWORD"))
    for path in take(address, user, password, parser.parse_args().folder):
        print(f"{path}  {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
