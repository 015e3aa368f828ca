"""``make demo-live``: write, let the micro-batches of the real scheduler follow, measure, compare, report."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import psycopg
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sandbox import demo
from sandbox.airflow_api import AirflowClient
from sandbox.live.charts import DASHBOARD, ChartWatch
from sandbox.live.reconcile import VIEW, compare
from sandbox.live.writer import Commits, Writer, ages, unseen
from sandbox.settings import SandboxError, Settings, write_atomically

DAG: Final = "cdc_micro_batch"
STEPS: Final = ("sync", "load", "metadata", "warm")
FIRST_SECONDS: Final = 600
"""The first sync brings everything the shop has: only then the feed is live."""
CATCH_UP_SECONDS: Final = 180
ALERT_SECONDS: Final = 60.0
"""From a commit in the source to the live dashboard, at most: the architecture's minute."""
_TELL_SECONDS = 10.0


@dataclass(frozen=True)
class Report:
    """What came of it.

    Args:
        changes: How many rows were inserted, updated and deleted.
        rate: Changes a second that were asked for.
        seconds: For how long.
        p50_s, p95_s, max_s: Age of a change when Superset's answer first showed it, from its commit, in seconds; of
            one that was not shown, its age at the last look. None: nothing was shown.
        unseen: How many changes were not shown by then.
        lost: Orders that the unified view lacks or shows in another version than the source.
        doubled: Rows that it has too much.
        by_step: What each step of the micro-batches took, in seconds, p50 and p95; "waiting" is the time until the sync
            that reads a change begins, the half of a cycle on average.
        batches: How many micro-batches there were.
        cached: Share of the looks at the chart that Superset answered out of its cache.
    """

    changes: int
    rate: float
    seconds: float
    p50_s: float | None
    p95_s: float | None
    max_s: float | None
    unseen: int
    lost: int
    doubled: int
    by_step: dict[str, dict[str, float]]
    batches: int
    cached: float


def run(settings: Settings, console: Console, rate: float, seconds: float) -> int:
    """Change the shop while the dashboard follows; the platform is up.

    Args:
        settings: Of the sandbox.
        console: Where to tell.
        rate: Changes a second.
        seconds: For how long.

    Returns:
        1 if a change was lost or doubled, nothing was shown, or one change in twenty was shown later than
        ``ALERT_SECONDS``; else 0.

    Raises:
        SandboxError: If something does not answer, or the feed does not get going.
    """
    if not _has_view(settings):
        console.print("The nightly batch has not run yet; the cold half of the orders is its work.")
        if demo.run(settings, console):
            return 1
    console.print(f"\nLook at it: {_tab(settings)}", soft_wrap=True)
    console.print("  the tab Live; it refreshes itself every five seconds", soft_wrap=True)
    with AirflowClient(settings) as airflow:
        paused = bool(airflow.request("GET", f"/api/v2/dags/{DAG}", accept=(404,)).json().get("is_paused", True))
        airflow.unpause(DAG)
        watch = ChartWatch(settings)
        watch.start()
        try:
            _get_going(settings, console, watch)
            began = datetime.now(UTC)
            writer = Writer(settings["SOURCE_POSTGRES_DSN"], rate, seconds)
            writer.start()
            _follow(console, writer, watch, seconds)
        finally:
            watch.stop()
            if paused:
                _end(airflow)
    if writer.error is not None:
        raise SandboxError(f"The shop's PostgreSQL refused: {writer.error}")
    report = _report(settings, writer.commits, watch, began, rate, seconds)
    path = settings.var / "demo-live" / "report.json"
    write_atomically(path, json.dumps(asdict(report), indent=2) + "\n")
    return _tell(console, report, path, watch)


def _has_view(settings: Settings) -> bool:
    login = {"userName": settings["DREMIO_USER"], "password": settings["DREMIO_PASSWORD"]}
    try:
        with httpx.Client(base_url=settings["DREMIO_URL"], timeout=30, trust_env=False) as client:
            token = client.post("/apiv2/login", json=login).raise_for_status().json()["token"]
            path = "/api/v3/catalog/by-path/" + VIEW.replace(".", "/")
            answer = client.get(path, headers={"Authorization": f"_dremio{token}"})
    except httpx.HTTPError as error:
        raise SandboxError(f"Dremio at {settings['DREMIO_URL']} does not answer: {error}") from error
    return answer.status_code == 200


def _tab(settings: Settings) -> str:
    return f"{settings['SUPERSET_URL']}/superset/dashboard/{DASHBOARD}/"


def _get_going(settings: Settings, console: Console, watch: ChartWatch) -> None:
    """Wait until a change of ours is shown: the feed has then caught up with all that was there before."""
    first = Writer(settings["SOURCE_POSTGRES_DSN"], rate=1, seconds=1)
    first.start()
    first.join()
    if first.error is not None:
        raise SandboxError(f"The shop's PostgreSQL refused: {first.error}")
    console.print(f"{DAG} runs; waiting until it has caught up with the shop ...")
    began = time.monotonic()
    while watch.marker < first.commits.markers[-1]:
        if time.monotonic() - began > FIRST_SECONDS:
            raise SandboxError(
                f"No change was shown within {FIRST_SECONDS} s; the log of the DAG {DAG} says why. {watch.error}"
            )
        time.sleep(0.2)
    console.print(f"  live after {time.monotonic() - began:.1f} s", soft_wrap=True)


def _follow(console: Console, writer: Writer, watch: ChartWatch, seconds: float) -> None:
    """Show how the charts follow until they show everything, or no longer get any further."""
    began = time.monotonic()
    told = began
    try:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while writer.is_alive() or (
                writer.commits.markers
                and watch.marker < writer.commits.markers[-1]
                and time.monotonic() - began < seconds + CATCH_UP_SECONDS
            ):
                line = _line(writer.commits, watch, time.monotonic() - began)
                if console.is_terminal:
                    live.update(line)
                elif time.monotonic() - told > _TELL_SECONDS:
                    told = time.monotonic()
                    console.print(f"  {line}")
                time.sleep(0.25)
    finally:
        writer.stop()


def _line(commits: Commits, watch: ChartWatch, elapsed: float) -> str:
    visible = commits.up_to(watch.marker)
    shown = sum(commits.changes[:visible])
    newest = ages(commits, watch.seen)[-20:]
    age = f"{_percentile(newest, 0.5):.1f} s" if newest else "-"
    return f"{elapsed:5.0f} s   {commits.total:,} changes made, {shown:,} shown, their age lately {age}"


def _end(airflow: AirflowClient) -> None:
    """Pause the DAG as it was before, and end the run that loops: whatever it was at, the next one takes up."""
    mask = {"update_mask": "is_paused"}
    airflow.request("PATCH", f"/api/v2/dags/{DAG}", params=mask, json={"is_paused": True})
    for run_id in airflow.active_runs(DAG):
        airflow.request("PATCH", f"/api/v2/dags/{DAG}/dagRuns/{run_id}", json={"state": "success"})


def _report(
    settings: Settings, commits: Commits, watch: ChartWatch, began: datetime, rate: float, seconds: float
) -> Report:
    found = ages(commits, watch.seen)
    late = unseen(commits, len(found), watch.looked)
    shown = [*found, *late] if found else []
    steps = _steps(settings, began)
    differs = compare(settings)
    return Report(
        changes=commits.total,
        rate=rate,
        seconds=seconds,
        p50_s=_rounded(_percentile(shown, 0.5)) if shown else None,
        p95_s=_rounded(_percentile(shown, 0.95)) if shown else None,
        max_s=_rounded(max(age for age, _ in shown)) if shown else None,
        unseen=sum(changes for _, changes in late),
        lost=differs.lost,
        doubled=differs.doubled,
        by_step={name: values for name, values in steps.items() if name != "batches"},
        batches=int(steps["batches"]["count"]),
        cached=round(watch.hits / watch.looks, 3) if watch.looks else 0.0,
    )


def _steps(settings: Settings, began: datetime) -> dict[str, dict[str, float]]:
    columns = ", ".join(f"{name}_seconds" for name in STEPS)
    query = f"select {columns}, asked_at from micro_batch_history where asked_at >= %s order by asked_at"  # noqa: S608
    try:
        with psycopg.connect(settings["METADATA_POSTGRES_DSN"], connect_timeout=10) as connection:
            rows = connection.execute(query, (began.replace(tzinfo=None),)).fetchall()
    except psycopg.Error as error:
        raise SandboxError(f"Cannot read micro_batch_history: {error}") from error
    gaps = [(after[-1] - before[-1]).total_seconds() / 2 for before, after in itertools.pairwise(rows)]
    taken = {"waiting": gaps, **{name: [float(row[index]) for row in rows] for index, name in enumerate(STEPS)}}
    found = {
        name: {
            "p50_s": _rounded(_percentile([(value, 1) for value in values], 0.5)),
            "p95_s": _rounded(_percentile([(value, 1) for value in values], 0.95)),
        }
        for name, values in taken.items()
        if values
    }
    return {**found, "batches": {"count": float(len(rows))}}


def _percentile(values: Sequence[tuple[float, int]], share: float) -> float:
    """Return the smallest value that so many of all have at most, each counted so often as it says."""
    ordered = sorted(values)
    wanted = math.ceil(share * sum(count for _, count in ordered))
    for value, count in ordered:
        wanted -= count
        if wanted <= 0:
            return value
    return ordered[-1][0]


def _rounded(value: float) -> float:
    return round(value, 3)


def _tell(console: Console, report: Report, path: Path, watch: ChartWatch) -> int:
    table = Table("step", "p50 s", "p95 s", box=None, pad_edge=False)
    for name, values in report.by_step.items():
        table.add_row(name, f"{values['p50_s']:.2f}", f"{values['p95_s']:.2f}")
    console.print("\n", table, sep="")
    wrong = _wrong(report)
    shown = [("p50", report.p50_s), ("p95", report.p95_s), ("max", report.max_s)]
    console.print(
        f"\n{report.changes:,} changes, age when shown: "
        + ", ".join(f"{name} {'never' if value is None else f'{value:.1f} s'}" for name, value in shown)
    )
    console.print(f"lost {report.lost}, doubled {report.doubled}", style="red" if wrong else "green")
    if report.unseen:
        console.print(
            f"{report.unseen:,} changes were not shown yet at the last look; they count as old as they were then"
        )
    for what in wrong:
        console.print(what, style="red")
    if wrong and watch.error:
        console.print(f"The last look at the chart that failed: {watch.error}", soft_wrap=True, markup=False)
    console.print(f"The charts follow all day when the DAG {DAG} is not paused: airflow dags unpause {DAG}")
    console.print(f"Report: {path}", soft_wrap=True)
    return 1 if wrong else 0


def _wrong(report: Report) -> list[str]:
    """Say what is not as it should be."""
    found = []
    if report.lost or report.doubled:
        found.append("The unified view is not the shop's table.")
    if report.p95_s is None:
        found.append("No change was shown.")
    elif report.p95_s > ALERT_SECONDS:
        found.append(f"One change in twenty was shown later than {ALERT_SECONDS:.0f} s after its commit.")
    return found
