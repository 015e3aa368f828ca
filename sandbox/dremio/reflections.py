"""Reflections: their definitions, the materializations that back them, and Dremio's words for the state they are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Column, Entity, Table, View, new_id, now_millis
from sandbox.dremio.errors import ApiError
from sandbox.dremio.store import Store

Json = dict[str, Any]

MEASURES = ("SUM", "COUNT", "MIN", "MAX", "APPROX_COUNT_DISTINCT")
TRANSFORMS = ("IDENTITY", "YEAR", "MONTH", "DAY", "HOUR", "BUCKET", "TRUNCATE")
MAX_FAILURES = 24
_FIELD_LISTS = (
    "dimensionFields",
    "measureFields",
    "displayFields",
    "distributionFields",
    "partitionFields",
    "sortFields",
)
_EDITABLE = (*_FIELD_LISTS, "name", "enabled", "arrowCachingEnabled", "partitionDistributionStrategy")

STALE_TAG = (
    "The reflection seems to have been modified by another flow. Please verify that the latest version is being used."
)


class Reflections:
    """All reflections.

    A reflection is a JSON document: the fields of the REST API, and under ``_state`` what the manager notes:
    refresh (``""``, PENDING, RUNNING or GIVEN_UP), failures, last_failure, current (the materialization in use).

    Args:
        store: keeps them.
        catalog: holds their datasets; a deleted dataset takes its reflections with it.
    """

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        # The store's own lock: a catalog transaction that deletes a dataset holds it when it comes here, so a lock of
        # our own, taken before the store's everywhere else, would be taken in the opposite order.
        self._lock = store.lock
        self._all: dict[str, Json] = {}
        self._by_dataset: dict[str, dict[str, Json]] = {}
        for body in store.reflections():
            self._index(body)
        self._materializations: dict[str, Json] = {str(body["id"]): body for body in store.materializations()}
        self._requests: set[str] = set()
        self.generation = 0
        self.wake: Callable[[], None] = lambda: None
        self.retired: Callable[[str, str], None] = lambda _, __: None
        catalog.on_delete(self._dataset_deleted)

    # -- reading

    def all(self) -> list[Json]:
        """Return all reflections, oldest first."""
        with self._lock:
            return sorted((dict(body) for body in self._all.values()), key=lambda body: body["createdAtMillis"])

    def of(self, dataset_id: str) -> list[Json]:
        """Return the reflections of a dataset."""
        return [body for body in self.all() if body["datasetId"] == dataset_id]

    @property
    def materializations(self) -> list[Json]:
        """All materializations that are remembered, oldest first."""
        with self._lock:
            return list(self._materializations.values())

    def current(self, reflection: Json, moment: int) -> Json | None:
        """Return the materialization in use, None if there is none or it has expired.

        Args:
            reflection: the reflection.
            moment: the present, milliseconds since 1970.
        """
        found = self._materializations.get(str(reflection["_state"]["current"]))
        return found if found is not None and int(found["expires"]) > moment else None

    def usable(self, dataset_id: str, moment: int) -> list[tuple[Json, Json]]:
        """Return the reflections of a dataset that may answer queries, each with its materialization.

        Args:
            dataset_id: the dataset.
            moment: the present, milliseconds since 1970.
        """
        with self._lock:
            found = []
            for reflection in self._by_dataset.get(dataset_id, {}).values():
                current = self.current(reflection, moment)
                given_up = reflection["_state"]["refresh"] == "GIVEN_UP"
                if reflection["enabled"] and not given_up and current is not None and current.get("columns"):
                    found.append((reflection, current))
            return found

    def get(self, identifier: str) -> Json:
        """Return a reflection.

        Raises:
            ApiError: 404 if there is none.
        """
        with self._lock:
            body = self._all.get(identifier)
        if body is None:
            raise ApiError(404, f"The reflection [{identifier}] was not found.")
        return dict(body)

    def described(self, relationships: list[Json]) -> str:
        """Return what EXPLAIN PLAN says of the reflections that were considered, empty if there were none.

        Args:
            relationships: as a job's JSON has them.
        """
        lines = []
        for entry in relationships:
            dataset = self._dataset(entry["datasetId"])
            name = self.get(entry["reflectionId"])["name"]
            lines.append(f"{entry['relationship']}: {name} on {'.'.join(dataset.path)} [{entry['reflectionId']}]")
        return "\n".join(["\n\nReflections", *lines]) if lines else ""

    # -- changing

    def create(self, body: Json) -> Json:
        """Create a reflection.

        Args:
            body: as sent to POST /api/v3/reflection.

        Raises:
            ApiError: 400 if it is not valid, 404 if the dataset does not exist.
        """
        dataset = self._dataset(str(body.get("datasetId") or ""))
        kind = str(body.get("type") or "").upper()
        if kind not in ("RAW", "AGGREGATION"):
            raise ApiError(400, "type can not be null: RAW or AGGREGATION")
        if not body.get("name"):
            raise ApiError(400, "name can not be empty")
        with self._lock:
            if any(str(other["name"]).lower() == str(body["name"]).lower() for other in self.of(dataset.id)):
                raise ApiError(409, f"A reflection with the name [{body['name']}] already exists on this dataset.")
            moment = now_millis()
            reflection: Json = {
                "id": new_id(),
                "type": kind,
                "name": str(body["name"]),
                "tag": new_id(),
                "createdAtMillis": moment,
                "updatedAtMillis": moment,
                "datasetId": dataset.id,
                "enabled": bool(body.get("enabled", True)),
                "arrowCachingEnabled": bool(body.get("arrowCachingEnabled") or False),
                "partitionDistributionStrategy": body.get("partitionDistributionStrategy") or "CONSOLIDATED",
                **_fields(body, kind, dataset.columns),
                "_state": {"refresh": "", "failures": 0, "last_failure": "", "current": None, "seen": 0},
            }
            self._put(reflection)
        self.wake()
        return reflection

    def update(self, identifier: str, body: Json) -> Json:
        """Change a reflection; failures are forgotten and it is built again.

        Raises:
            ApiError: 404 if there is none, 409 if the tag is stale, 400 if the new state is not valid.
        """
        with self._lock:
            reflection = self.get(identifier)
            if body.get("tag") and body["tag"] != reflection["tag"]:
                raise ApiError(409, STALE_TAG)
            dataset = self._dataset(str(reflection["datasetId"]))
            changed = {**reflection, **{name: body[name] for name in _EDITABLE if name in body}}
            for name in _FIELD_LISTS:
                if name not in body:
                    changed.pop(name, None)
            fields = _fields(changed, str(reflection["type"]), dataset.columns)
            updated = {name: value for name, value in changed.items() if name not in _FIELD_LISTS} | fields
            same = all(updated.get(name) == reflection.get(name) for name in _EDITABLE)
            if same and reflection["_state"]["refresh"] != "GIVEN_UP":
                return reflection
            state = {**reflection["_state"], "failures": 0, "last_failure": "", "refresh": "", "retry_at": 0}
            rebuilt = any(updated.get(name) != reflection.get(name) for name in _FIELD_LISTS)
            if state["current"] is not None and (rebuilt or not updated["enabled"]):
                self._retire(reflection, str(state["current"]))
                state["current"] = None
            updated |= {"tag": new_id(), "updatedAtMillis": now_millis(), "_state": state}
            self._put(updated)
        self.wake()
        return updated

    def delete(self, identifier: str) -> None:
        """Delete a reflection.

        Raises:
            ApiError: 404 if there is none.
        """
        with self._lock:
            reflection = self.get(identifier)
            self._forget(reflection)

    def note(self, identifier: str, **changes: Any) -> Json | None:
        """Change what the manager notes about a reflection.

        Returns:
            dict: the reflection, None if it was deleted meanwhile.
        """
        with self._lock:
            reflection = self._all.get(identifier)
            if reflection is None:
                return None
            reflection = {**reflection, "_state": {**reflection["_state"], **changes}}
            self._put(reflection)
            return reflection

    def request(self, identifiers: list[str]) -> None:
        """Ask for reflections to be refreshed as soon as may be."""
        with self._lock:
            self._requests |= set(identifiers)
        self.wake()

    def take_requests(self) -> set[str]:
        """Return what was asked for since this was last called."""
        with self._lock:
            requests, self._requests = self._requests, set()
        return requests

    def record(self, materialization: Json) -> None:
        """Write a materialization, new or changed."""
        with self._lock:
            self._materializations[materialization["id"]] = materialization
            self.generation += 1
            self._store.put_materialization(
                materialization["id"], materialization["reflection_id"], materialization["created"], materialization
            )

    def drop_materialization(self, identifier: str) -> None:
        """Forget a materialization."""
        with self._lock:
            self._materializations.pop(identifier, None)
            self._store.delete_materialization(identifier)

    def succeeded(self, reflection_id: str, materialization: Json, **noted: Any) -> bool:
        """Put a finished materialization in the place of the one in use.

        Args:
            reflection_id: the reflection.
            materialization: what was built.
            noted: what else is noted about the reflection.

        Returns:
            bool: False if nobody wants it any more: the reflection was deleted, disabled or given other fields.
        """
        with self._lock:
            reflection = self._all.get(reflection_id)
            if reflection is None or not reflection["enabled"] or reflection["tag"] != materialization["tag"]:
                return False
            previous = reflection["_state"]["current"]
            self.record(materialization)
            self.note(reflection_id, current=materialization["id"], **noted)
            if previous is not None:
                self._retire(reflection, str(previous))
            return True

    def _retire(self, reflection: Json, identifier: str) -> None:
        """Say that a materialization is no longer in use."""
        if identifier in self._materializations:
            self.record({**self._materializations[identifier], "state": "DELETED"})
        self.retired(str(reflection["id"]), identifier)

    def _index(self, reflection: Json) -> None:
        self._all[reflection["id"]] = reflection
        self._by_dataset.setdefault(reflection["datasetId"], {})[reflection["id"]] = reflection

    def _put(self, reflection: Json) -> None:
        self._index(reflection)
        self.generation += 1
        self._store.put_reflection(reflection["id"], reflection["datasetId"], reflection)

    def _forget(self, reflection: Json) -> None:
        self._all.pop(reflection["id"], None)
        self._by_dataset.get(reflection["datasetId"], {}).pop(reflection["id"], None)
        self.generation += 1
        self._store.delete_reflection(reflection["id"])
        if reflection["_state"]["current"] is not None:
            self._retire(reflection, str(reflection["_state"]["current"]))

    def _dataset(self, identifier: str) -> View | Table:
        dataset = self._catalog.by_id(identifier)
        if not isinstance(dataset, View | Table):
            raise ApiError(404, f"The dataset [{identifier}] was not found.")
        return dataset

    def _dataset_deleted(self, entity: Entity) -> None:
        for reflection in self.of(entity.id):
            with self._lock:
                self._forget(reflection)


def _fields(body: Json, kind: str, columns: tuple[Column, ...]) -> Json:
    """Return the field lists of a reflection, checked; empty lists are left out, as Dremio does.

    Raises:
        ApiError: 400 if a field is not a column, or the lists do not fit the type.
    """
    known = {column.name.lower(): column.name for column in columns}

    def name_of(field: Json) -> str:
        name = str(field.get("name", ""))
        if name.lower() not in known:
            raise ApiError(400, f"Unable to find field [{name}] in the dataset.")
        return known[name.lower()]

    lists: Json = {}
    if kind == "RAW":
        lists["displayFields"] = [{"name": name_of(field)} for field in body.get("displayFields") or []]
        if not lists["displayFields"]:
            raise ApiError(400, "A raw reflection must have at least one display field.")
    else:
        lists["dimensionFields"] = [
            {"name": name_of(field), "granularity": field.get("granularity") or "DATE"}
            for field in body.get("dimensionFields") or []
        ]
        lists["measureFields"] = [_measure(field, name_of) for field in body.get("measureFields") or []]
        if not lists["dimensionFields"] and not lists["measureFields"]:
            raise ApiError(400, "An aggregation reflection must have at least one dimension or measure field.")
    lists["partitionFields"] = [_partition(field, name_of) for field in body.get("partitionFields") or []]
    lists["sortFields"] = [{"name": name_of(field)} for field in body.get("sortFields") or []]
    lists["distributionFields"] = [{"name": name_of(field)} for field in body.get("distributionFields") or []]
    return {name: items for name, items in lists.items() if items}


def _measure(field: Json, name_of: Callable[[Json], str]) -> Json:
    functions = [str(function).strip().upper() for function in field.get("measureTypeList") or []]
    for function in functions:
        if function not in MEASURES:
            raise ApiError(400, f"Invalid measure type [{function}]: {', '.join(MEASURES)} are valid.")
    return {"name": name_of(field), "measureTypeList": functions or ["SUM", "COUNT"]}


def _partition(field: Json, name_of: Callable[[Json], str]) -> Json:
    transform = field.get("transform") or {"type": "IDENTITY"}
    if str(transform.get("type", "")).upper() not in TRANSFORMS:
        raise ApiError(400, f"Invalid partition transform [{transform.get('type')}].")
    return {"name": name_of(field), "transform": transform}
