"""The files of Superset's pages are a browser's for good, whoever is logged in."""

from __future__ import annotations

import re

import httpx

from tests.providers.superset.real import RealSuperset


def test_a_browser_does_not_ask_for_them_again(real_superset: RealSuperset) -> None:
    with httpx.Client(base_url=real_superset.address, timeout=30) as client:
        page = client.get("/login/")
        script = re.search(r"/static/assets/[\w.]+\.entry\.js", page.text)
        assert script, page.text[:500]
        found = client.get(script.group())
        assert found.headers["cache-control"] == "max-age=31536000, public"
        assert "cookie" not in found.headers.get("vary", "").lower(), "another cookie would be another file"
        assert "set-cookie" not in found.headers
        assert found.headers["content-type"].startswith("text/javascript")
        # What is no file of Superset's is still Superset's to answer: those of its framework, and what there is not.
        assert client.get("/static/appbuilder/css/bootstrap.min.css").is_success
        for path in ("/static/assets/nothing.js", "/static/%2e%2e/config.py", "/static/..%2fconfig.py"):
            assert client.get(path).status_code == 404, path
