"""Superset's configuration, on the sandbox and on the real platform: what differs comes from the environment.

SUPERSET_POSTGRES_DSN     metadata database, postgresql://user:password@host:port/database
SUPERSET_SECRET_KEY       signs sessions and encrypts the databases' passwords; never change it without re-encrypting
SUPERSET_REDIS_URL        redis://host:port/db; without it the caches are files below SUPERSET_CACHE_DIR
SUPERSET_CACHE_DIR        directory of the file caches, shared by all workers (default: <SUPERSET_HOME>/cache)
SUPERSET_HTTPS            "true" behind TLS: secure cookies and Talisman's headers
SUPERSET_ROW_LIMIT        most rows of one chart query (default 50000)
"""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import quote

sys.path.append(os.path.dirname(__file__))  # Superset loads this file by its path, which makes its folder no package

from event_log import QueuedEventLogger
from kept_rights import KeptRightsSecurityManager
from leaner_queries import make_queries_leaner
from sqlalchemy_dremio import query as dremio_query
from werkzeug.middleware.shared_data import SharedDataMiddleware

_DAY_SECONDS = 86_400


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise RuntimeError(f"{name} is not set; include/superset/superset_config.py needs it.")
    return value


_home = os.environ.get("SUPERSET_HOME") or os.path.expanduser("~/.superset")
_redis = os.environ.get("SUPERSET_REDIS_URL", "")
_https = os.environ.get("SUPERSET_HTTPS", "false").lower() == "true"


def _cache(prefix: str, seconds: int) -> dict[str, Any]:
    """Return the configuration of one cache whose entries live ``seconds``."""
    if _redis:
        return {
            "CACHE_TYPE": "RedisCache",
            "CACHE_DEFAULT_TIMEOUT": seconds,
            "CACHE_KEY_PREFIX": prefix,
            "CACHE_REDIS_URL": _redis,
        }
    directory = os.environ.get("SUPERSET_CACHE_DIR") or os.path.join(_home, "cache")
    return {
        "CACHE_TYPE": "FileSystemCache",
        "CACHE_DEFAULT_TIMEOUT": seconds,
        "CACHE_DIR": os.path.join(directory, prefix),
        "CACHE_THRESHOLD": 0,  # the default of 500 entries would evict what the nightly run has warmed
        "CACHE_OPTIONS": {"mode": 0o600},
    }


# Dremio sends timestamps in milliseconds, and pandas 2 keeps them so; the client knows pandas' nanoseconds only, and
# fails on every query with a timestamp in it.
dremio_query._type_map.setdefault("datetime64[ms]", dremio_query._type_map["datetime64[ns]"])

SQLALCHEMY_DATABASE_URI = _required("SUPERSET_POSTGRES_DSN").replace("postgresql://", "postgresql+psycopg2://", 1)
SECRET_KEY = _required("SUPERSET_SECRET_KEY")

# The default of both is NullCache, with which nothing is cached and nothing can be warmed. A day and a bit: the entries
# of one night have to last until the next night's are written.
DATA_CACHE_CONFIG = _cache("data_", _DAY_SECONDS + 6 * 3600)
CACHE_CONFIG = _cache("meta_", _DAY_SECONDS)
THUMBNAIL_CACHE_CONFIG = _cache("thumbnails_", 7 * _DAY_SECONDS)
FILTER_STATE_CACHE_CONFIG = _cache("filters_", 90 * _DAY_SECONDS)
EXPLORE_FORM_DATA_CACHE_CONFIG = _cache("explore_", 7 * _DAY_SECONDS)

EVENT_LOGGER = QueuedEventLogger()
CUSTOM_SECURITY_MANAGER = KeptRightsSecurityManager
FLASK_APP_MUTATOR = make_queries_leaner


def _serve_static_files(application: Any) -> Any:
    """Answer for the files of Superset's pages before anything of Superset does.

    Superset lets them depend on the cookie, which changes every second, so that browsers ask for each of them again on
    every page, and it compresses them anew for everybody. Their names change with their contents.
    """
    return SharedDataMiddleware(application, {"/static": ("superset", "static")}, cache_timeout=365 * _DAY_SECONDS)


ADDITIONAL_MIDDLEWARE = [_serve_static_files]

# A page that refreshes itself asks the cache, which the micro-batches keep filled; the default asks the database.
DASHBOARD_AUTO_REFRESH_MODE = "fetch"

ROW_LIMIT = int(os.environ.get("SUPERSET_ROW_LIMIT", "50000"))
SUPERSET_WEBSERVER_TIMEOUT = 120

# The look of the platform, in a light and a dark mode that people switch themselves or that follows their system.
APP_NAME = "Lakehouse"


def _logo(color: str) -> str:
    """Return the logo as a data address: three layers on a lake, and the name in ``color``."""
    layers = "".join(
        f'<path d="M2 {top}l12-6 12 6-12 6z" fill="{fill}"/>'
        for top, fill in ((22, "#2A7DA8"), (16, "#2A9D8F"), (10, "#E9A23B"))
    )
    font = 'font-family="Inter,Helvetica,Arial,sans-serif" font-size="19" font-weight="600"'
    name = f'<text x="34" y="22" {font} fill="{color}">{APP_NAME}</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 156 32">{layers}{name}</svg>'
    return "data:image/svg+xml," + quote(svg)


_TOKENS = {
    "brandAppName": APP_NAME,
    "brandLogoAlt": APP_NAME,
    "brandLogoHref": "/",
    "brandLogoHeight": "28px",
    "brandLogoMargin": "12px 0",
    "colorPrimary": "#2A7DA8",
    "colorLink": "#2A7DA8",
    "colorSuccess": "#2A9D8F",
    "colorWarning": "#E9A23B",
    "colorError": "#D9674F",
    "colorInfo": "#4A97C2",
    # A theme replaces Superset's own as a whole: without these its pages fall back to the system's font.
    "fontFamily": "Inter, Helvetica, Arial, sans-serif",
    "fontFamilyCode": "'IBM Plex Mono', 'Courier New', monospace",
    "fontSizeXS": "8",
    "fontSizeXXL": "28",
    "fontWeightNormal": "400",
    "fontWeightLight": "300",
    "fontWeightStrong": "500",
    "fontWeightBold": "700",
    "transitionTiming": 0.3,
}
THEME_DEFAULT: dict[str, Any] = {"token": {**_TOKENS, "brandLogoUrl": _logo("#1B2733")}, "algorithm": "default"}
THEME_DARK: dict[str, Any] = {
    # The same hue, lighter: the primary colour of the light mode is too dark for text on a dark page.
    "token": {**_TOKENS, "brandLogoUrl": _logo("#E6EDF3"), "colorPrimary": "#5BA9D0", "colorLink": "#7FC0E0"},
    "algorithm": "dark",
}
# Colours of middling lightness: they stand out from white and from black.
EXTRA_CATEGORICAL_COLOR_SCHEMES = [
    {
        "id": "lakehouse",
        "label": "Lakehouse",
        "description": "Legible in the light and in the dark mode",
        "isDefault": True,
        "colors": [
            "#2A7DA8", "#2A9D8F", "#E9A23B", "#8E6BBF", "#D9674F",
            "#4A97C2", "#7BA05B", "#C46A93", "#7C8AA0", "#B08A5B",
        ],
    }
]  # fmt: skip
EXTRA_SEQUENTIAL_COLOR_SCHEMES = [
    {
        "id": "lakehouse_blues",
        "label": "Lakehouse blues",
        "description": "From little to much",
        "isDiverging": False,
        "isDefault": True,
        "colors": ["#D6E8F2", "#8FC1DC", "#4A97C2", "#1F6A94", "#134A6B"],
    }
]

# Talisman's content policy and secure cookies need TLS; over plain http they lock the browser out.
TALISMAN_ENABLED = _https
SESSION_COOKIE_SECURE = _https
SESSION_COOKIE_SAMESITE = "Lax"
ENABLE_PROXY_FIX = _https
