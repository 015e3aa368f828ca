"""Make Superset's objects as a bundle declares them: a plan, then one import of what differs and nothing else.

Every import of a dataset gives it a new time of change, which is part of the cache keys of all its charts: what is the
same is left out, so that what is warm stays warm. The importer finds what the bundle leaves out at the instance
(``sparse``: superset/commands/importers/v1/assets.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superset_provider.assets.bundle import Asset, chart_uuids, kind_of, write_zip
from superset_provider.assets.connections import (
    MASK,
    has_references,
    needs_password,
    password_for,
    resolve,
    same_uri,
)
from superset_provider.assets.extras import apply_tags, check_tagging, import_themes, read_target, theme_ids
from superset_provider.assets.layout import with_titles
from superset_provider.assets.normalise import complete, without_hidden
from superset_provider.assets.validation import check_references, checked_bundle
from superset_provider.exceptions import SupersetConfigurationError, SupersetTerminalError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.plans import Step, differences

_ORDER = {kind: number for number, kind in enumerate(("theme", "database", "dataset", "chart", "dashboard"))}


@dataclass(frozen=True)
class AssetPlan:
    """What has to be done, and all that doing it needs.

    :param steps: One for each object of the bundle, in the order they depend on each other; then what is deleted.
    :param assets: The bundle, by uuid.
    :param target: What Superset has, by uuid.
    :param passwords: Of the databases that are sent, by file.
    """

    steps: Sequence[Step]
    assets: Mapping[str, Asset] = field(repr=False)
    target: Mapping[str, Asset] = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)

    @property
    def sent(self) -> list[Asset]:
        """The objects that are created or changed."""
        return [self.assets[step.uuid] for step in self.steps if step.action in ("created", "changed")]


def plan_assets(
    hook: SupersetHook,
    files: Mapping[str, Any],
    *,
    delete_removed_charts: bool = False,
    resend_passwords: Sequence[str] = (),
) -> AssetPlan:
    """Compare a bundle with what Superset has. Changes nothing.

    :param hook: An open hook of a user who may export all assets.
    :param files: As :func:`superset_provider.assets.bundle.read_folder` returns them.
    :param delete_removed_charts: Whether a chart goes that stands on a declared dashboard at Superset, but no more in
        the bundle, and on no other dashboard. What another user has created is never deleted.
    :param resend_passwords: Names of databases whose password has changed, which cannot be seen from outside.
    :raises SupersetConfigurationError: The bundle cannot be imported; says everything that is wrong with it.
    """
    assets = [_resolved(asset) for asset in checked_bundle(files)]
    assets.sort(key=lambda asset: (_ORDER[asset.kind], asset.path))
    target = read_target(hook, assets)
    check_references(assets, target)
    check_tagging(hook, assets)
    declared = {asset.uuid: asset for asset in assets}
    steps = [_step(asset, target.get(asset.uuid), resend_passwords) for asset in assets]
    if delete_removed_charts:
        steps += _removed_charts(hook, declared, target)
    passwords: dict[str, str] = {}
    for step in steps:
        if step.kind == "database" and step.action in ("created", "changed"):
            password = _password(step.path, files[step.path]["sqlalchemy_uri"], exists=step.action == "changed")
            passwords |= {step.path: password} if password is not None else {}
    return AssetPlan(steps, declared, target, passwords)


def database_passwords(files: Mapping[str, Any]) -> dict[str, str]:
    """The passwords that Airflow has for a bundle's databases, by the database's name.

    :param files: As :func:`superset_provider.assets.bundle.read_folder` returns them.
    :raises SupersetConfigurationError: A connection is not there or has no password.
    """
    found: dict[str, str] = {}
    for path, body in files.items():
        if kind_of(path) == "database" and needs_password(str(body.get("sqlalchemy_uri"))):
            password = password_for(body["sqlalchemy_uri"], path)
            found |= {str(body["database_name"]): password} if password is not None else {}
    return found


def apply_assets(hook: SupersetHook, plan: AssetPlan) -> None:
    """Import what differs, in one transaction, and delete what the plan deletes.

    :param hook: An open hook of a user who may import assets.
    :raises SupersetError: Superset refused it.
    """
    names = {uuid: asset.name for uuid, asset in {**plan.target, **plan.assets}.items() if asset.kind == "chart"}
    import_themes(hook, [(asset, complete("theme", asset.body)) for asset in plan.sent if asset.kind == "theme"])
    sent = [asset for asset in plan.sent if asset.kind != "theme"]
    if sent:
        themed = any("theme_uuid" in asset.body for asset in (*sent, *plan.target.values()))
        themes = theme_ids(hook) if themed else None
        _import(hook, {asset.path: _sendable(asset, names, themes) for asset in sent}, plan.passwords)
    for asset in sent:
        if asset.kind in ("chart", "dashboard"):
            apply_tags(hook, asset, plan.target.get(asset.uuid))
    for step in plan.steps:
        if step.action == "deleted":
            found = hook.list_charts([{"col": "uuid", "opr": "eq", "value": step.uuid}])
            for chart in found:
                hook.request("DELETE", f"/api/v1/chart/{int(chart['id'])}")


def _import(hook: SupersetHook, files: Mapping[str, Any], passwords: Mapping[str, str]) -> None:
    try:
        hook.import_assets(write_zip(files), passwords=passwords, sparse=True)
    except SupersetTerminalError as error:
        raise SupersetTerminalError(
            f"Superset refused the bundle. {error.message}",
            asked=error.asked,
            address=error.address,
            received=error.received,
            check=f"Superset's own log, which has the reason; the files were valid. Sent: {', '.join(files)}",
            status_code=error.status_code,
        ) from error


def _resolved(asset: Asset) -> Asset:
    """A database with the values of the connections it refers to."""
    if asset.kind != "database" or not has_references(asset.body["sqlalchemy_uri"]):
        return asset
    uri = resolve(str(asset.body["sqlalchemy_uri"]), f"{asset.path}: sqlalchemy_uri")
    return Asset(asset.kind, asset.path, {**asset.body, "sqlalchemy_uri": uri})


def _password(path: str, uri: str, *, exists: bool) -> str | None:
    if not needs_password(uri):
        return None
    password = password_for(uri, path)
    if password is None and not exists:
        raise SupersetConfigurationError(
            f"{path}: sqlalchemy_uri: has a masked password ({MASK}) but refers to no Airflow connection that has it.",
            check="write the user as {{ conn.<id>.login }}; its password is then sent beside the bundle.",
        )
    return password


def _step(asset: Asset, found: Asset | None, resend_passwords: Sequence[str]) -> Step:
    about = (asset.kind, asset.name, asset.uuid, asset.path)
    if found is None:
        return Step(*about, "created")
    left, right = without_hidden(asset.kind, found.body), without_hidden(asset.kind, asset.body)
    if asset.kind == "database" and same_uri(left["sqlalchemy_uri"], right["sqlalchemy_uri"]):
        left["sqlalchemy_uri"] = right["sqlalchemy_uri"]
    found_differences = differences(left, right, values=asset.kind != "database")
    if asset.kind == "database" and asset.name in resend_passwords:
        found_differences += ("password",)
    return Step(*about, "changed" if found_differences else "same", found_differences)


def _removed_charts(hook: SupersetHook, declared: Mapping[str, Asset], target: Mapping[str, Asset]) -> list[Step]:
    before = list(chart_uuids(target))
    kept = {chart for dashboard, chart in before if dashboard not in declared} | {c for _, c in chart_uuids(declared)}
    gone = {chart for dashboard, chart in before if dashboard in declared} - kept - declared.keys()
    if not gone:
        return []
    # What a person has put on the dashboard by hand is taken off it, but it is not ours to delete.
    me = hook.get_current_user()["id"]
    mine = {str(entry["uuid"]) for entry in hook.list_charts() if (entry.get("created_by") or {}).get("id") == me}
    return [
        Step("chart", target[chart].name, chart, "", "deleted", ("is on no declared dashboard any more",))
        for chart in sorted(gone & mine)
        if chart in target
    ]


def _sendable(asset: Asset, charts: Mapping[str, str], themes: Mapping[str, int] | None) -> dict[str, Any]:
    """What is sent of an object.

    :param charts: Names of charts by uuid.
    :param themes: Ids of themes by uuid; None where none is used, which is all that older versions know.
    """
    whole = complete(asset.kind, asset.body)
    if asset.kind == "dashboard":
        whole["position"] = with_titles(whole["position"], asset.name, charts)
        if themes is not None:
            whole["theme_id"] = themes.get(str(whole["theme_uuid"]))
    return {key: value for key, value in whole.items() if key not in ("tags", "theme_uuid")}
