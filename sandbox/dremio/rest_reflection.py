"""REST: reflections."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.edition import is_enterprise
from sandbox.dremio.entities import Table, View
from sandbox.dremio.errors import ApiError
from sandbox.dremio.jobs import iso
from sandbox.dremio.materialize import Manager, config_status
from sandbox.dremio.reflections import Reflections
from sandbox.dremio.rest import Api, Call

Json = dict[str, Any]

_STRATEGIES = ("STRIPED", "CONSOLIDATED")


class ReflectionView:
    """Reflections in Dremio's words, for REST and for sys.reflections.

    Args:
        reflections: all reflections.
        catalog: holds their datasets.
        manager: knows what they depend on.
    """

    def __init__(self, reflections: Reflections, catalog: Catalog, manager: Manager) -> None:
        self.reflections = reflections
        self.catalog = catalog
        self.manager = manager

    def current(self, reflection: Json) -> Json | None:
        """Return the materialization in use, None if there is none or it has expired."""
        return self.reflections.current(reflection, self.manager.clock())

    def status(self, reflection: Json) -> Json:
        """Return the status object, with combinedStatus derived as Dremio derives it."""
        state = reflection["_state"]
        current = self.current(reflection)
        config = config_status(reflection, self.catalog) or "OK"
        refresh = state["refresh"] or self.manager.policies(reflection).idle_status
        availability = "AVAILABLE" if current is not None else "NONE"
        failures = int(state["failures"])
        body = {
            "config": config,
            "refresh": refresh,
            "availability": availability,
            "combinedStatus": combined(bool(reflection["enabled"]), config, refresh, availability, failures),
            "refreshMethod": "FULL" if current is not None else "NONE",
            "failureCount": failures,
            "lastFailureMessage": state["last_failure"] or None,
            "lastDataFetch": iso(int(current["fetched"]) if current else -1),
            "expiresAt": iso(int(current["expires"]) if current else -1),
            "lastRefreshDurationMillis": int(current["finished"]) - int(current["created"]) if current else -1,
            "lastRefreshFinished": iso(int(current["finished"])) if current else None,
        }
        return {name: value for name, value in body.items() if value is not None}

    def as_rest(self, reflection: Json) -> Json:
        """Return a reflection as the REST API shows it."""
        dataset = self.catalog.by_id(reflection["datasetId"])
        own = [m for m in self.reflections.materializations if m["reflection_id"] == reflection["id"]]
        kept = [m for m in own if m["state"] == "DONE"]
        current = self.current(reflection)
        hidden = ("_state", "createdAtMillis", "updatedAtMillis")
        return {
            **{name: value for name, value in reflection.items() if name not in hidden},
            "createdAt": iso(reflection["createdAtMillis"]),
            "updatedAt": iso(reflection["updatedAtMillis"]),
            "currentSizeBytes": int(current["bytes"]) if current else 0,
            "totalSizeBytes": sum(int(m["bytes"]) for m in kept),
            "status": self.status(reflection),
            "datasetName": dataset.name if dataset is not None else "",
            "datasetType": "VIRTUAL_DATASET" if isinstance(dataset, View) else "PHYSICAL_DATASET",
            "recordCount": int(current["rows"]) if current else 0,
            "entityType": "reflection",
        }


def combined(enabled: bool, config: str, refresh: str, availability: str, failures: int) -> str:
    """Return combinedStatus, in the order in which Dremio decides it."""
    available = availability == "AVAILABLE"
    if not enabled:
        return "DISABLED"
    if config == "INVALID":
        return "INVALID"
    if refresh == "GIVEN_UP":
        return "FAILED"
    if refresh in ("PENDING", "RUNNING"):
        return "CAN_ACCELERATE" if available else "REFRESHING"
    if available:
        return "CAN_ACCELERATE_WITH_FAILURES" if failures else "CAN_ACCELERATE"
    return f"CANNOT_ACCELERATE_{refresh}"


class ReflectionApi:
    """``/api/v3/reflection`` and ``/api/v3/dataset/{id}/reflection``.

    Args:
        view: shows reflections.
    """

    def __init__(self, view: ReflectionView) -> None:
        self._view = view
        self._reflections = view.reflections

    def register(self, api: Api) -> None:
        """Add the routes."""
        if is_enterprise():
            api.add("GET", "/api/v3/reflection/summary", self._summary)
            api.add("GET", "/api/v3/reflection", lambda _: {"data": self._all()})
            api.add("POST", "/api/v3/reflection/{id}/refresh", self._refresh)
        api.add("POST", "/api/v3/reflection", self._create)
        api.add("GET", "/api/v3/reflection/{id}", self._get)
        api.add("PUT", "/api/v3/reflection/{id}", self._update)
        api.add("DELETE", "/api/v3/reflection/{id}", self._delete)
        api.add("GET", "/api/v3/dataset/{id}/reflection", self._of_dataset)

    def _get(self, call: Call) -> Any:
        return self._view.as_rest(self._reflections.get(call.parts["id"]))

    def _create(self, call: Call) -> Any:
        _check(call.body)
        return self._view.as_rest(self._reflections.create(call.body))

    def _update(self, call: Call) -> Any:
        _check(call.body)
        return self._view.as_rest(self._reflections.update(call.parts["id"], call.body))

    def _delete(self, call: Call) -> Any:
        self._reflections.delete(call.parts["id"])
        return Response(status_code=200)

    def _of_dataset(self, call: Call) -> Any:
        dataset = self._view.catalog.by_id(call.parts["id"])
        if not isinstance(dataset, View | Table):
            raise ApiError(404, f"The dataset [{call.parts['id']}] was not found.")
        return {"data": [self._view.as_rest(reflection) for reflection in self._reflections.of(dataset.id)]}

    def _all(self) -> list[Json]:
        return [self._view.as_rest(reflection) for reflection in self._reflections.all()]

    def _refresh(self, call: Call) -> Any:
        reflection = self._reflections.get(call.parts["id"])
        if not reflection["enabled"]:
            raise ApiError(400, f"The reflection [{reflection['id']}] is disabled.")
        self._reflections.request([str(reflection["id"])])
        return Response(status_code=200)

    def _summary(self, _: Call) -> Any:
        return {"data": [_summarised(shown) for shown in self._all()], "isCanAlterReflections": True}


def _summarised(shown: Json) -> Json:
    """Return what the summary has of a reflection; the three parts of its status have other names there."""
    status = shown["status"]
    named = {
        "configStatus": status["config"],
        "refreshStatus": status["refresh"],
        "availabilityStatus": status["availability"],
        "combinedStatus": status["combinedStatus"],
        "failureCount": status["failureCount"],
        "lastDataFetchAt": status["lastDataFetch"],
        "expiresAt": status["expiresAt"],
    }
    kept = ("id", "createdAt", "updatedAt", "name", "datasetId", "datasetType", "currentSizeBytes", "totalSizeBytes",
            "enabled")  # fmt: skip
    return {
        **{name: shown[name] for name in kept},
        "reflectionType": shown["type"],
        "status": named,
        "outputRecords": shown["recordCount"],
    }


def _check(body: Json) -> None:
    strategy = body.get("partitionDistributionStrategy")
    if strategy and strategy not in _STRATEGIES:
        raise ApiError(400, f"Invalid partitionDistributionStrategy [{strategy}]: {', '.join(_STRATEGIES)} are valid.")
