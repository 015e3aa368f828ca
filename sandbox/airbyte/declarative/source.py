"""A source that a low-code manifest describes."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from sandbox.airbyte.connectors.base import Batch, ConfiguredStream, ConnectorError, Log, Stream
from sandbox.airbyte.declarative.interpolation import render_text
from sandbox.airbyte.declarative.manifest import Manifest
from sandbox.airbyte.declarative.paginator import Paginator
from sandbox.airbyte.declarative.requester import Requester


class DeclarativeSource:
    """An HTTP API, described by a manifest.

    Args:
        manifest: the manifest.
        configuration: the source's configuration; valid, with its secrets.
    """

    def __init__(self, manifest: Manifest, configuration: dict[str, Any]) -> None:
        self._manifest = manifest
        self._configuration = configuration
        self._interrupted = threading.Event()

    def check(self) -> None:
        """Read the first page of the streams that the manifest's CheckStream names.

        Raises:
            ConnectorError: naming the address, if a stream cannot be read.
        """
        for component in self._manifest.streams:
            if component["name"] in self._manifest.check_streams:
                reader = DeclarativeReader(component, self._configuration, [], _silent, self._interrupted)
                with closing(reader.batches()) as pages:
                    next(pages, None)

    def discover(self) -> list[Stream]:
        """Return the manifest's streams; nothing is asked over the network."""
        return [
            Stream(
                name=component["name"],
                namespace=None,
                json_schema=_schema(component),
                primary_key=_primary_key(component.get("primary_key")),
            )
            for component in self._manifest.streams
        ]

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> DeclarativeReader:
        """Begin a pass over a stream.

        Raises:
            ConnectorError: if the manifest has no such stream any more.
        """
        stream = configured.stream
        for component in self._manifest.streams:
            if component["name"] == stream.name:
                declared = list(_schema(component).get("properties", {}))
                selected = stream.columns if stream.columns != declared else []
                return DeclarativeReader(component, self._configuration, selected, log, self._interrupted)
        raise ConnectorError(f"The manifest has no stream {stream.name} any more.", "source", "config_error")

    def interrupt(self) -> None:
        """Stop before the next request, or in the middle of a wait."""
        self._interrupted.set()


class DeclarativeReader:
    """One pass over one stream, a page at a time.

    Args:
        component: the DeclarativeStream.
        configuration: the source's configuration.
        selected: fields to keep; empty keeps every field the API sends, declared or not.
        log: where to say what is read.
        interrupted: set when the sync is cancelled.
    """

    def __init__(
        self,
        component: dict[str, Any],
        configuration: dict[str, Any],
        selected: list[str],
        log: Log,
        interrupted: threading.Event,
    ) -> None:
        self._component = component
        self._configuration = configuration
        self._selected = selected
        self._log = log
        self._interrupted = interrupted

    def batches(self) -> Generator[Batch]:
        """Yield the records of every page.

        Raises:
            ConnectorError: if the API fails for good or answers something that is not JSON.
        """
        retriever = self._component["retriever"]
        paginator = Paginator(retriever.get("paginator"), self._configuration)
        requester = Requester(retriever["requester"], self._configuration, self._log, self._interrupted)
        with closing(requester):
            while True:
                options, path = paginator.options()
                seen = paginator.token
                response = requester.send(options, path, {"next_page_token": {"next_page_token": paginator.token}})
                if response is None:
                    return
                try:
                    body = response.json()
                except json.JSONDecodeError as error:
                    message = f"API at {requester.url}: the answer is not JSON."
                    raise ConnectorError(message, "source") from error
                records = self._records(body, requester.url)
                if records:
                    yield self._narrowed(records)
                if not paginator.advance(response, body, records):
                    return
                if paginator.token == seen:
                    message = f"API at {requester.url}: the next page is this page again ({seen}); it would never end."
                    raise ConnectorError(message, "source", "config_error")

    def state(self) -> dict[str, Any] | None:
        """The whole API is read each time: there is nothing to remember."""
        return None

    def _records(self, body: Any, url: str) -> list[dict[str, Any]]:
        extractor = self._component["retriever"]["record_selector"]["extractor"]
        context = {"config": self._configuration, "parameters": extractor["parameters"]}
        found = list(_extract(body, [render_text(step, context) for step in extractor["field_path"]]))
        records = [record for item in found for record in (item if isinstance(item, list) else [item])]
        if not all(isinstance(record, dict) for record in records):
            path = ".".join(map(str, extractor["field_path"]))
            message = f"API at {url}: {path or 'the answer'} does not hold records (JSON objects)."
            raise ConnectorError(message, "source", "config_error")
        return records

    def _narrowed(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not self._selected:
            return records
        return [{name: record[name] for name in self._selected if name in record} for record in records]


def _extract(node: Any, path: list[str]) -> Iterator[Any]:
    """Yield what a path leads to; ``*`` stands for every element, a missing field for nothing."""
    if not path:
        yield node
        return
    step, rest = path[0], path[1:]
    if step == "*":
        below = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        for item in below:
            yield from _extract(item, rest)
    elif isinstance(node, dict) and step in node:
        yield from _extract(node[step], rest)
    elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
        yield from _extract(node[int(step)], rest)


def _schema(component: dict[str, Any]) -> dict[str, Any]:
    loader = component.get("schema_loader")
    schema: dict[str, Any] = loader["schema"] if loader else {"type": "object", "properties": {}}
    return schema


def _primary_key(declared: Any) -> list[list[str]]:
    """Return a manifest's primary key (a name, a list of names or a list of paths) as a list of paths."""
    if not declared:
        return []
    if isinstance(declared, str):
        return [[declared]]
    return [[item] if isinstance(item, str) else list(item) for item in declared]


def _silent(level: str, message: str) -> None:
    """A log for checks, which nobody reads."""
