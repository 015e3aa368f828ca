"""A bundle: objects as files, in a folder or in the zip that Superset exports and imports."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from superset_provider.assets.models import FILES, KINDS
from superset_provider.assets.normalise import normal_form
from superset_provider.exceptions import SupersetConfigurationError

METADATA = {"version": "1.0.0", "type": "assets"}
# A fixed date for every entry: the same objects, the same bytes.
_ZIP_DATE = (2026, 1, 1, 0, 0, 0)
_MOST_BYTES = 256 * 1024 * 1024
_ID_IN_NAME = re.compile(r"_(\d+)\.ya?ml$")


@dataclass(frozen=True)
class Asset:
    """One object of a bundle.

    :param kind: ``database``, ``dataset``, ``chart``, ``dashboard`` or ``theme``.
    :param path: Its file, from the root of the bundle.
    :param body: Its normal form.
    """

    kind: str
    path: str
    body: Mapping[str, Any]

    @property
    def uuid(self) -> str:
        """What it is found by, on every instance."""
        return str(self.body.get("uuid"))

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.body.get(FILES[self.kind].title) or self.path)


def read_folder(folder: str | Path) -> dict[str, Any]:
    """The files of a bundle.

    :param folder: Root of the bundle; what is in no folder that Superset knows is left alone.
    :returns: What each file holds, by path from the root.
    :raises SupersetConfigurationError: There is no such folder, or a file is no YAML.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SupersetConfigurationError(f"There is no folder {str(folder)!r}.", check="the argument assets.")
    return {
        path.relative_to(root).as_posix(): parse(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.y*ml"))
        if kind_of(path.relative_to(root).as_posix()) or path.parent == root
    }


def parse(path: str, text: str | bytes) -> Any:
    """What a YAML file holds.

    :param path: Its name, for the message.
    :raises SupersetConfigurationError: It is no YAML.
    """
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        raise SupersetConfigurationError(f"{path}: is no YAML: {error}", check="the file.") from error


def kind_of(path: str) -> str | None:
    """The kind of object that a file of a bundle holds, None for any other file."""
    return KINDS.get(path.split("/", 1)[0]) if "/" in path else None


def read_export(bundle: bytes) -> list[Asset]:
    """The objects of a zip that Superset exported.

    :param bundle: The zip.
    :raises SupersetConfigurationError: It unpacks to more than 256 MiB.
    """
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise SupersetConfigurationError(
                "Superset's export is larger than 256 MiB.", check="export single dashboards instead."
            )
        files = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist() if "/" in name}
    found = [(kind, path, parse(path, text)) for path, text in files.items() if (kind := kind_of(path))]
    charts = {
        int(number[1]): str(body["uuid"])
        for kind, path, body in found
        if kind == "chart" and (number := _ID_IN_NAME.search(path))
    }
    return [Asset(kind, path, normal_form(kind, body, charts)) for kind, path, body in found]


def write_zip(files: Mapping[str, Any]) -> bytes:
    """A zip as Superset's importer wants it.

    :param files: What each file is to hold, by path.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in sorted({"metadata.yaml": METADATA, **files}.items()):
            archive.writestr(zipfile.ZipInfo(f"assets/{path}", _ZIP_DATE), dump(body))
    return out.getvalue()


def dump(body: Mapping[str, Any]) -> str:
    """The text of a file: the same value, the same text."""
    return yaml.dump(
        dict(body), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000
    )


def chart_uuids(assets: Mapping[str, Asset] | list[Asset]) -> Iterator[tuple[str, str]]:
    """Which chart stands on which dashboard: ``(dashboard's uuid, chart's uuid)``."""
    for asset in assets.values() if isinstance(assets, Mapping) else assets:
        if asset.kind == "dashboard":
            for component in asset.body.get("position", {}).values():
                if isinstance(component, dict) and component.get("type") == "CHART":
                    yield asset.uuid, str(component.get("meta", {}).get("uuid"))


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, and every value where it belongs instead of a reference to another."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
# The C parser is ten times as fast; wheels have it, a build without libyaml has not.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
