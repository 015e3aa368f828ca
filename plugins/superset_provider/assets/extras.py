"""What Superset's export and import of all assets leave out: themes, and the tags of charts and dashboards.

superset/commands/importers/v1/assets.py reads neither; a dashboard's theme is taken as the id that it has there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from superset_provider.assets.bundle import Asset, read_export, write_zip
from superset_provider.assets.normalise import normal_form
from superset_provider.exceptions import SupersetConfigurationError, SupersetNotFoundError
from superset_provider.hooks.calls import list_themes
from superset_provider.hooks.superset import SupersetHook

# superset/tags/models.py: ObjectType
_TAGGED = {"chart": 2, "dashboard": 3}


def read_target(hook: SupersetHook, declared: Sequence[Asset] = ()) -> dict[str, Asset]:
    """Everything that Superset has, by uuid; themes only where they are used, since older versions have none.

    :param declared: The objects of a bundle, which may need a theme.
    """
    found = {asset.uuid: asset for asset in read_export(hook.export_assets())}
    if any(asset.kind == "theme" or "theme_uuid" in asset.body for asset in (*declared, *found.values())):
        for theme in hook.perform(list_themes()):
            if not theme.get("is_system"):
                body = {key: theme[key] for key in ("theme_name", "json_data", "uuid")} | {"version": "1.0.0"}
                found[str(theme["uuid"])] = Asset("theme", f"themes/{theme['uuid']}.yaml", normal_form("theme", body))
    return found


def import_themes(hook: SupersetHook, themes: Sequence[tuple[Asset, Mapping[str, Any]]]) -> None:
    """Create and replace themes.

    :param themes: Each with what is sent of it.
    """
    if not themes:
        return
    metadata = {"version": "1.0.0", "type": "Theme"}
    bundle = write_zip({"metadata.yaml": metadata, **{asset.path: body for asset, body in themes}})
    files = {"formData": ("themes.zip", bundle, "application/zip")}
    hook.request("POST", "/api/v1/theme/import/", data={"overwrite": "true"}, files=files)


def theme_ids(hook: SupersetHook) -> dict[str, int]:
    """The id of each theme at the instance, by uuid."""
    return {str(theme["uuid"]): int(theme["id"]) for theme in hook.perform(list_themes())}


def check_tagging(hook: SupersetHook, assets: Sequence[Asset]) -> None:
    """Whether Superset can keep the tags of a bundle.

    :raises SupersetConfigurationError: It cannot.
    """
    tagged = [asset.path for asset in assets if asset.body.get("tags")]
    if not tagged:
        return
    try:
        hook.request("GET", "/api/v1/tag/")
    except SupersetNotFoundError as error:
        raise SupersetConfigurationError(
            f"{', '.join(tagged)}: tags: Superset has its tags switched off.",
            check="the feature flag TAGGING_SYSTEM in Superset's configuration, or take the tags out of the files.",
        ) from error


def apply_tags(hook: SupersetHook, asset: Asset, found: Asset | None) -> None:
    """Bring the tags of a chart or dashboard to what is declared.

    :param asset: As it is declared.
    :param found: As it was at Superset; None when it is new.
    """
    declared = list(asset.body.get("tags") or ())
    there = list((found.body.get("tags") if found else None) or ())
    if set(declared) == set(there):
        return
    listing = hook.list_charts if asset.kind == "chart" else hook.list_dashboards
    [entry] = listing([{"col": "uuid", "opr": "eq", "value": asset.uuid}])
    path = f"/api/v1/tag/{_TAGGED[asset.kind]}/{int(entry['id'])}/"
    added = [tag for tag in declared if tag not in there]
    if added:
        hook.request("POST", path, json={"properties": {"tags": added}})
    for tag in there:
        if tag not in declared:
            hook.request("DELETE", f"{path}{quote(tag, safe='')}/")
