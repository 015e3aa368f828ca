"""Superset's log of what people do, written beside the answers and not before them.

Superset's own logger commits to the metadata database within each request, a fifth of what a cached chart costs.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask, current_app
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from superset.utils import json
from superset.utils.log import AbstractEventLogger

_log = logging.getLogger(__name__)
_MOST_WAITING = 10_000
_MOST_ROWS = 500
_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 10.0


class QueuedEventLogger(AbstractEventLogger):  # type: ignore[misc]  # it is Superset's
    """Write to the table ``logs`` as Superset's own logger does, from a thread of the process, about once a second.

    A worker that ends writes what still waits; one that is killed loses the last second. When the database is so slow
    that ``_MOST_WAITING`` events wait, requests wait with them. An event that the database does not take is left out
    and said so in Superset's log, as its own logger does.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(_MOST_WAITING)
        self._start = threading.Lock()
        self._writer: threading.Thread | None = None
        self._stopping = threading.Event()

    def log(  # noqa: D102  # Superset's
        self,
        user_id: int | None,
        action: str,
        dashboard_id: int | None,
        duration_ms: int | None,
        slice_id: int | None,
        referrer: str | None,
        curated_payload: dict[str, Any] | None = None,
        curated_form_data: dict[str, Any] | None = None,
        *_: Any,
        records: Sequence[dict[str, Any]] = (),
        **__: Any,
    ) -> None:
        self._ensure_writer()
        for record in records or [curated_payload or {}]:
            self._waiting.put(
                {
                    "action": action,
                    "json": json.dumps(record, default=str),
                    "dashboard_id": dashboard_id or record.get("dashboard_id"),
                    "slice_id": slice_id or record.get("slice_id"),
                    "duration_ms": duration_ms,
                    "referrer": referrer,
                    "user_id": user_id,
                    "dttm": datetime.now(UTC).replace(tzinfo=None),
                }
            )

    def _ensure_writer(self) -> None:
        """Start the thread with the first event: a worker is forked after the logger was made."""
        if self._writer is None:
            with self._start:
                if self._writer is None:
                    app = current_app._get_current_object()
                    writer = threading.Thread(target=self._write_until_stopped, args=(app,), name="event-log")
                    # Not waited for by itself, so that stopping it can be asked for before it is.
                    writer.daemon = True
                    atexit.register(self._stop, writer)
                    writer.start()
                    self._writer = writer

    def _stop(self, writer: threading.Thread) -> None:
        self._stopping.set()
        writer.join(_STOP_SECONDS)

    def _write_until_stopped(self, app: Flask) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS) or not self._waiting.empty():
            rows: list[dict[str, Any]] = []
            while len(rows) < _MOST_ROWS and not self._waiting.empty():
                rows.append(self._waiting.get_nowait())
            if rows:
                with app.app_context():
                    self._write(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        from superset import db
        from superset.models.core import Log

        try:
            db.session.bulk_insert_mappings(Log, rows)
            db.session.commit()
        except (SQLAlchemyError, ValueError) as error:
            db.session.rollback()
            if len(rows) == 1 or isinstance(error, (OperationalError, InterfaceError)):
                # The last two: no database, which would refuse each of them alone as well.
                names = sorted({str(row["action"]) for row in rows})
                _log.exception("Not written to the table logs: %d events, %s", len(rows), ", ".join(names))
            else:
                # One that the database does not take must not take the others with it.
                middle = len(rows) // 2
                self._write(rows[:middle])
                self._write(rows[middle:])
