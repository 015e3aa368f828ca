"""Superset: the bundle of ``include/superset/assets``: databases, datasets, charts and dashboards.

Only objects that differ are imported: an import gives a dataset a new cache key, so that what was warmed is cold again.
"""

from __future__ import annotations

from lakehouse.files import include_dir
from lakehouse.setup.changes import Action, Change, remember_applied, same_as_applied

_ACTIONS: dict[str, Action] = {"created": "created", "changed": "updated", "deleted": "updated", "same": "unchanged"}


def apply() -> list[Change]:
    """Import what is declared and differs; a chart that was taken off the declared dashboards is deleted.

    Returns:
        One change for each theme, database, dataset, chart and dashboard.

    Raises:
        SupersetConfigurationError: When a file says something that Superset's importer is known to stumble over.
        SupersetError: When Superset refuses the bundle.
    """
    from superset_provider.assets.apply import apply_assets, database_passwords, plan_assets
    from superset_provider.assets.bundle import read_folder
    from superset_provider.hooks.superset import SupersetHook

    files = read_folder(include_dir() / "superset" / "assets")
    # Superset does not show passwords, so that a changed one is found by its fingerprint.
    passwords = database_passwords(files)
    changed = {name for name in passwords if not same_as_applied("superset", "password", name, passwords[name])}
    with SupersetHook("superset_default") as hook:
        plan = plan_assets(hook, files, delete_removed_charts=True, resend_passwords=sorted(changed))
        apply_assets(hook, plan)
    for name in changed:
        remember_applied("superset", "password", name, passwords[name])
    return [
        Change(
            "superset",
            step.kind,
            step.name,
            _ACTIONS[step.action],
            "deleted" if step.action == "deleted" else "; ".join(step.differences),
        )
        for step in plan.steps
    ]
