"""Looking at many reflections from a worker; the trigger has its own, asynchronous look."""

from __future__ import annotations

import time
from typing import Any

from dremio_provider.anchors import finished_times
from dremio_provider.exceptions import DremioNotFoundError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.reflections import ReflectionStatus, WatchSet


def look(hook: DremioHook, watches: WatchSet, log: Any) -> None:
    """Look once at every reflection that has no verdict.

    :param log: Is told each verdict.
    """
    for watch in watches.pending():
        reflection_id = watch.baseline.reflection_id
        try:
            body: dict[str, Any] | None = hook.get_reflection(reflection_id)
        except DremioNotFoundError:
            body = None
        status = ReflectionStatus.from_api(body) if body is not None else None
        if body is not None and status is not None and watch.needs_finished(status):
            status = ReflectionStatus.from_api(body, finished_times(hook, [reflection_id]).get(reflection_id))
        watch.observe(status, time.time())
        if watch.done:
            log.info("%s", watch)
