"""Where destination-s3 puts its objects: path format, file name pattern, and how to find what an earlier sync wrote."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DEFAULT_PATH_FORMAT = "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_"
DEFAULT_FILE_NAME_PATTERN = "{part_number}{format_extension}"

_PATH_VARIABLE = re.compile(r"\$\{([A-Z_]+)\}")
_NAME_VARIABLE = re.compile(r"\{([a-z_]+)(?::([^}]*))?\}")
_PATH_PATTERNS = {
    "YEAR": r"\d{4}",
    "MONTH": r"\d{2}",
    "DAY": r"\d{2}",
    "HOUR": r"\d{2}",
    "MINUTE": r"\d{2}",
    "SECOND": r"\d{2}",
    "MILLISECOND": r"\d{3,4}",
    "EPOCH": r"\d+",
    "UUID": r"[0-9a-f-]{36}",
}
_NAME_PATTERNS = {
    "date": r"[\d_:-]+",
    "timestamp": r"[\d_:-]+",
    "part_number": r"\d+",
    "sync_id": r"\d+",
    "format_extension": r"\.[a-z.]+",
}
_JAVA_DATE_TOKENS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_JAVA_DATE = re.compile("|".join(_JAVA_DATE_TOKENS))


def problems(configuration: dict[str, Any]) -> list[str]:
    """Return what is wrong with the two patterns of a configuration, each as a sentence naming the field."""
    wrong = []
    path_format = configuration.get("s3_path_format") or DEFAULT_PATH_FORMAT
    for name in _PATH_VARIABLE.findall(path_format):
        if name not in _PATH_PATTERNS and name not in ("NAMESPACE", "STREAM_NAME"):
            known = ", ".join(["NAMESPACE", "STREAM_NAME", *_PATH_PATTERNS])
            wrong.append(f"s3_path_format: unknown variable ${{{name}}}; known are {known}.")
    if "${STREAM_NAME}" not in path_format:
        wrong.append("s3_path_format: needs ${STREAM_NAME}, or the streams would overwrite each other.")
    pattern = configuration.get("file_name_pattern") or DEFAULT_FILE_NAME_PATTERN
    for name, form in _NAME_VARIABLE.findall(pattern):
        if name not in _NAME_PATTERNS:
            known = ", ".join(_NAME_PATTERNS)
            wrong.append(f"file_name_pattern: unknown variable {{{name}}}; known are {known}.")
        elif form and re.search("[A-Za-z]", _JAVA_DATE.sub("", form)):
            wrong.append(f"file_name_pattern: {{{name}:{form}}} uses more than {', '.join(_JAVA_DATE_TOKENS)}.")
    if "{part_number}" not in pattern:
        wrong.append("file_name_pattern: needs {part_number}, or the parts of a stream would overwrite each other.")
    return wrong


@dataclass(frozen=True)
class Layout:
    """The key layout of one destination.

    Attributes:
        bucket_path: folder below the bucket.
        path_format: ``s3_path_format`` of the configuration.
        file_name_pattern: ``file_name_pattern`` of the configuration.
        extension: extension of the format, with its dot.
    """

    bucket_path: str
    path_format: str
    file_name_pattern: str
    extension: str

    @classmethod
    def of(cls, configuration: dict[str, Any], extension: str) -> Layout:
        """Read the layout from a destination's configuration."""
        return cls(
            configuration["s3_bucket_path"].strip("/"),
            configuration.get("s3_path_format") or DEFAULT_PATH_FORMAT,
            configuration.get("file_name_pattern") or DEFAULT_FILE_NAME_PATTERN,
            extension,
        )

    def key(self, stream: str, namespace: str | None, sync_id: int, at: datetime, part: int) -> str:
        """Return the key of one part.

        Args:
            stream: name of the stream, with the connection's prefix.
            namespace: namespace of the stream in the destination, or None.
            sync_id: the job's id.
            at: time of the upload, in UTC: path variables are never a data column.
            part: number of the part, from 0.
        """
        epoch_ms = int(at.timestamp() * 1000)
        values = {
            "NAMESPACE": namespace or "",
            "STREAM_NAME": stream,
            "YEAR": f"{at:%Y}",
            "MONTH": f"{at:%m}",
            "DAY": f"{at:%d}",
            "HOUR": f"{at:%H}",
            "MINUTE": f"{at:%M}",
            "SECOND": f"{at:%S}",
            "MILLISECOND": f"{at.microsecond // 1000:03d}",
            "EPOCH": str(epoch_ms),
            "UUID": str(uuid.uuid4()),
        }
        folder = _PATH_VARIABLE.sub(lambda match: values[match[1]], self.path_format)

        def name_part(match: re.Match[str]) -> str:
            variable, form = match[1], match[2]
            if variable in ("date", "timestamp") and form:
                return at.strftime(_JAVA_DATE.sub(lambda token: _JAVA_DATE_TOKENS[token[0]], form))
            return {
                "date": f"{at:%Y_%m_%d}",
                "timestamp": str(epoch_ms),
                "part_number": str(part),
                "sync_id": str(sync_id),
                "format_extension": self.extension,
            }[str(variable)]

        return _tidy(f"{self.bucket_path}/{folder}{_NAME_VARIABLE.sub(name_part, self.file_name_pattern)}")

    def earlier(self, stream: str, namespace: str | None) -> tuple[str, re.Pattern[str]]:
        """Return the prefix to list and the pattern that keys of this stream match, whatever sync wrote them."""
        fixed = {"NAMESPACE": namespace or "", "STREAM_NAME": stream}
        template = _PATH_VARIABLE.sub(lambda match: fixed.get(match[1], match[0]), self.path_format)
        template = _tidy(f"{self.bucket_path}/{template}{self.file_name_pattern}")
        variable = re.compile(f"{_PATH_VARIABLE.pattern}|{_NAME_VARIABLE.pattern}")
        expression, prefix, end = "", None, 0
        for match in variable.finditer(template):
            prefix = template[: match.start()] if prefix is None else prefix
            expression += re.escape(template[end : match.start()])
            expression += _PATH_PATTERNS[match[1]] if match[1] else _NAME_PATTERNS[match[2]]
            end = match.end()
        return prefix or template, re.compile(expression + re.escape(template[end:]))


def _tidy(key: str) -> str:
    """Collapse empty path elements: S3 servers that keep files refuse them."""
    return re.sub("/{2,}", "/", key).lstrip("/")


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
