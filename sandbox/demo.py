"""``make demo``: one night of the platform, watched: configuration applied, the batch run, what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sandbox import connections, pools, report
from sandbox.airflow_api import FINISHED, AirflowClient
from sandbox.report import Plan, StageResult
from sandbox.settings import SandboxError, Settings

SETUP_DAG = "platform_setup"
ORDERS_CONNECTION = "shop_postgres"
RUN_SECONDS = 4 * 3600
"""After this a run that does not end is given up; large scales take long on few cores."""

_STYLES = {"success": "green", "running": "yellow", "failed": "red", "upstream_failed": "red", "missing": "red"}


def run(settings: Settings, console: Console) -> int:
    """Apply the configuration, run the nightly batch once, and show and write down what it did.

    The platform is up and the shop is loaded.

    Returns:
        0 if all nine stages and the run as a whole succeeded, else 1.

    Raises:
        SandboxError: if Airflow, Airbyte or Dremio does not answer, or the configuration cannot be applied.
    """
    plan = report.load_plan()
    with AirflowClient(settings) as client:
        written = connections.apply(settings, client)
        console.print(f"Airflow connections: {', '.join(written) or 'nothing to change'}", soft_wrap=True)
        pools.apply(client)
        _set_up(client, console)
        settings.remember("AIRBYTE_CONNECTION_ORDERS", _airbyte_connection(settings))
        client.unpause(plan.dag_id)
        run_id = client.trigger(plan.dag_id, datetime.now(UTC).isoformat())
        console.print(f"\n{plan.dag_id}, run {run_id}", soft_wrap=True)
        _tell_of_others(client, plan.dag_id, run_id, console)
        state, results = _watch(client, plan, run_id, console)
        if state["state"] != "success":
            _explain(settings, client, plan.dag_id, run_id, console)
    succeeded = state["state"] == "success" and all(result.state == "success" for result in results)
    rows = report.count_rows(settings) if succeeded else {}
    path = report.write(settings, report.build(state, results, rows, report.addresses(settings)))
    _summarise(settings, console, results, rows)
    console.print(f"Report: {path}", soft_wrap=True)
    return 0 if succeeded else 1


def _set_up(client: AirflowClient, console: Console) -> None:
    client.unpause(SETUP_DAG)
    run_id = client.trigger(SETUP_DAG, None)
    done: set[str] = set()

    def show(tasks: Sequence[dict[str, Any]]) -> None:
        for task in tasks:
            if task["state"] == "success" and task["task_id"] not in done:
                done.add(task["task_id"])
                console.print(f"  {SETUP_DAG}: {task['task_id']} ({task['duration'] or 0:.1f} s)")

    state = _wait(client, SETUP_DAG, run_id, show)
    if state["state"] != "success":
        lines = _failures(client, SETUP_DAG, run_id)
        raise SandboxError(f"{SETUP_DAG} failed, so nothing is configured to run:\n" + "\n".join(lines))
    summary = client.returned(SETUP_DAG, run_id, "report")
    if summary:
        console.print(f"Configuration: {summary}", soft_wrap=True, markup=False)


def _tell_of_others(client: AirflowClient, dag_id: str, run_id: str, console: Console) -> None:
    """Say which other run ours has to wait for: the schedule may have started one as soon as the DAG was unpaused."""
    end = time.monotonic() + 5
    while time.monotonic() < end and client.run(dag_id, run_id)["state"] == "queued":
        others = [name for name in client.active_runs(dag_id) if name != run_id]
        if others:
            console.print(f"  waiting for {', '.join(others)}: one run at a time", soft_wrap=True)
            return
        time.sleep(0.5)


def _wait(
    client: AirflowClient, dag_id: str, run_id: str, show: Callable[[Sequence[dict[str, Any]]], None]
) -> dict[str, Any]:
    """Show a run's tasks every second until it has ended; return the run."""
    end = time.monotonic() + RUN_SECONDS
    while True:
        state = client.run(dag_id, run_id)
        show(client.tasks(dag_id, run_id))
        if state["state"] in FINISHED:
            return state
        if time.monotonic() > end:
            raise SandboxError(f"{dag_id} {run_id} is still {state['state']} after {RUN_SECONDS / 3600:.0f} hours.")
        time.sleep(1)


def _watch(
    client: AirflowClient, plan: Plan, run_id: str, console: Console
) -> tuple[dict[str, Any], list[StageResult]]:
    """Show the stages while they run: as a table that changes on a terminal, else a line for each change."""
    results = report.stage_results(plan, [], datetime.now(UTC))
    if console.is_terminal:
        with Live(_table(results), console=console, refresh_per_second=4) as live:

            def draw(tasks: Sequence[dict[str, Any]]) -> None:
                results[:] = report.stage_results(plan, tasks, datetime.now(UTC))
                live.update(_table(results))

            return _wait(client, plan.dag_id, run_id, draw), results
    told: dict[str, str] = {}

    def tell(tasks: Sequence[dict[str, Any]]) -> None:
        results[:] = report.stage_results(plan, tasks, datetime.now(UTC))
        for result in results:
            if result.state not in ("missing", "waiting", told.get(result.stage.name)):
                told[result.stage.name] = result.state
                console.print(f"  {result.stage.name}: {result.state} ({result.seconds:.1f} s)")

    state = _wait(client, plan.dag_id, run_id, tell)
    console.print(_table(results))
    return state, results


def _table(results: Sequence[StageResult]) -> Table:
    table = Table("stage", "planned", "started", "seconds", "state", box=None, pad_edge=False)
    for result in results:
        started = result.started.astimezone().strftime("%H:%M:%S") if result.started else ""
        seconds = f"{result.seconds:.1f}" if result.started else ""
        style = _STYLES.get(result.state, "dim")
        table.add_row(result.stage.name, result.stage.window, started, seconds, f"[{style}]{result.state}[/]")
    return table


def _explain(settings: Settings, client: AirflowClient, dag_id: str, run_id: str, console: Console) -> None:
    for line in _failures(client, dag_id, run_id):
        console.print(line, style="red", markup=False, soft_wrap=True)
    logs = settings.var / "airflow" / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
    console.print(f"All logs of the run: {logs}", soft_wrap=True, markup=False)


def _failures(client: AirflowClient, dag_id: str, run_id: str) -> list[str]:
    """Return, for each failed task, its id and the last lines that say why."""
    lines = []
    for task in client.tasks(dag_id, run_id):
        if task["state"] == "failed":
            lines.append(f"{task['task_id']} failed (attempt {task['try_number']}):")
            lines += [f"    {line}" for line in client.error_lines(dag_id, run_id, task)]
    return lines or [f"No task of {dag_id} {run_id} failed; the run itself did. See Airflow's page of the run."]


def _airbyte_connection(settings: Settings) -> str:
    """Return the id of the Airbyte connection that extracts the orders."""
    address = settings["AIRBYTE_URL"]
    login = {
        "client_id": settings["AIRBYTE_CLIENT_ID"],
        "client_secret": settings["AIRBYTE_CLIENT_SECRET"],
        "grant-type": "client_credentials",
    }
    try:
        with httpx.Client(base_url=f"{address}/api/public/v1", timeout=30, trust_env=False) as client:
            token = client.post("/applications/token", json=login).raise_for_status().json()["access_token"]
            answer = client.get("/connections", params={"limit": 100}, headers={"Authorization": f"Bearer {token}"})
            for connection in answer.raise_for_status().json()["data"]:
                if connection["name"] == ORDERS_CONNECTION:
                    return str(connection["connectionId"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise SandboxError(f"Cannot ask Airbyte at {address} for its connections: {error}") from error
    raise SandboxError(
        f"Airbyte at {address} has no connection {ORDERS_CONNECTION}, which {SETUP_DAG} should have made."
    )


def _summarise(settings: Settings, console: Console, results: Sequence[StageResult], rows: dict[str, int]) -> None:
    if rows:
        table = Table("table", "rows", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name, count in rows.items():
            table.add_row(name, f"{count:,}")
        console.print("\n", table, sep="")
    console.print()
    addresses = report.addresses(settings)
    for name in ("airflow", "superset", "dremio", "airbyte", "elasticsearch", "s3", "postgres"):
        console.print(f"  {name:<14} {addresses[name]}")
    console.print(f"  users and passwords are in {settings.path}", soft_wrap=True)
    succeeded = sum(result.state == "success" for result in results)
    style = "green" if succeeded == len(results) else "red"
    console.print(f"\n{succeeded} of {len(results)} stages succeeded.", style=style)
