"""Which of Superset's rights a request needs, as its role editor names them, because a 403 does not say it."""

from __future__ import annotations

# resource_name -> class_permission_name of Superset's APIs (superset/*/api.py).
_VIEWS = {
    "assets": "ImportExportRestApi",
    "cachekey": "CacheRestApi",
    "chart": "Chart",
    "dashboard": "Dashboard",
    "database": "Database",
    "dataset": "Dataset",
    "log": "Log",
    "me": "CurrentUserRestApi",
    "rowlevelsecurity": "Row Level Security",
    "sqllab": "SQLLab",
    "tag": "Tag",
}
_SECURITY_VIEWS = {
    "csrf_token": "SecurityRestApi",
    "roles": "Role",
    "users": "User",
}
# Methods with a right of their own; all others need "can read" or "can write" (MODEL_API_RW_METHOD_PERMISSION_MAP).
_ACTIONS = {
    ("assets", "import"): "can import",
    ("cachekey", "invalidate"): "can invalidate",
    ("chart", "warm_up_cache"): "can warm up cache",
    ("dataset", "duplicate"): "can duplicate",
    ("dataset", "get_or_create"): "can get or create dataset",
    ("dataset", "warm_up_cache"): "can warm up cache",
    ("sqllab", "execute"): "can execute sql query",
}
_EXPORTS = frozenset({"assets", "chart", "dashboard", "database", "dataset"})
# Flask-AppBuilder's own APIs name their rights after the method.
_PLAIN = frozenset({"Role", "User"})


def needed_right(method: str, path: str) -> str | None:
    """The right that a request needs.

    :param path: For example ``/api/v1/chart/warm_up_cache``.
    :returns: For example ``can warm up cache on Chart``; None where it is not known.
    """
    parts = path.removeprefix("/api/v1/").strip("/").split("/")
    resource, last = parts[0], parts[-1]
    view = _SECURITY_VIEWS.get(parts[1]) if resource == "security" and len(parts) > 1 else _VIEWS.get(resource)
    if view is None:
        return None
    if (resource, last) in _ACTIONS:
        return f"{_ACTIONS[resource, last]} on {view}"
    if last == "export" and resource in _EXPORTS:
        return f"can export on {view}"
    if view in _PLAIN:
        return f"can {method.lower()} on {view}"
    reads = method in ("GET", "HEAD") or path.endswith("/chart/data")
    return f"can {'read' if reads else 'write'} on {view}"
