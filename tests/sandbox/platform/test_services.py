from __future__ import annotations

import socket
import sys

import pytest

from sandbox.processes import Command
from sandbox.services import Platform, Preparation, Service, answers, port_taken
from sandbox.settings import SandboxError

SERVER = """
import http.server, sys
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def server(settings, name: str, script: str = SERVER, **options) -> Service:
    number = settings.port(name)
    return Service(
        name=name,
        command=lambda: Command(
            (sys.executable, "-c", script, str(number)), settings.child_environment(), settings.var
        ),
        address=f"http://127.0.0.1:{number}",
        ready=answers(f"http://127.0.0.1:{number}/"),
        ports=(number,),
        **{"deadline": 20, "stop_seconds": 5, **options},
    )


def states(platform: Platform) -> dict[str, str]:
    return {state.name: state.state for state in platform.states()}


def test_up_status_and_down(settings):
    order: list[str] = []
    platform = Platform(
        settings,
        [
            server(settings, "s3", finish=lambda: order.append("s3")),
            Preparation("between", lambda: bool(order.append("between")), ("s3",)),
            server(settings, "airbyte", needs=("between",), prepare=lambda: order.append("airbyte")),
        ],
    )
    assert states(platform) == {"s3": "stopped", "airbyte": "stopped"}
    platform.up()
    assert order == ["s3", "between", "airbyte"]
    assert states(platform) == {"s3": "running", "airbyte": "running"}
    assert all(state.memory > 0 for state in platform.states())
    assert platform.down() == 0, "nothing was left for the sweep"
    assert states(platform) == {"s3": "stopped", "airbyte": "stopped"}
    assert not port_taken(settings.port("s3"))


def test_up_again_starts_only_what_died(settings):
    platform = Platform(settings, [server(settings, "s3"), server(settings, "airbyte")])
    platform.up()
    before = platform.table.records()
    platform.table.process(before["s3"]).kill()
    platform.table.process(before["airbyte"])
    while states(platform)["s3"] != "dead":
        pass
    platform.up()
    after = platform.table.records()
    assert after["airbyte"] == before["airbyte"]
    assert after["s3"].pid != before["s3"].pid
    assert states(platform) == {"s3": "running", "airbyte": "running"}


def test_a_changed_environment_starts_the_service_anew(settings):
    platform = Platform(settings, [server(settings, "s3")])
    platform.up()
    first = platform.table.records()["s3"]
    settings.remember("AIRBYTE_CONNECTION_ORDERS", "found out meanwhile")
    platform.up()
    assert platform.table.records()["s3"] == first
    settings.entries["S3_SECRET_KEY"] = "another"
    platform.up()
    assert platform.table.records()["s3"].pid != first.pid


def test_a_taken_port_is_named_with_its_owner_and_a_way_out(settings):
    platform = Platform(settings, [server(settings, "s3")])
    with socket.create_server(("127.0.0.1", settings.port("s3"))), pytest.raises(SandboxError) as caught:
        platform.up()
    message = str(caught.value)
    assert f"Port {settings.port('s3')}, which s3 needs, is taken by process" in message
    assert "SANDBOX_PORT_OFFSET" in message
    assert "\n" not in message
    assert platform.table.records() == {}


def test_what_our_own_dead_service_left_on_a_port_is_ended(settings):
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SERVER!r}, sys.argv[1]]).wait()"
    platform = Platform(settings, [server(settings, "s3", parent)])
    platform.up()
    platform.table.process(platform.table.records()["s3"]).kill()
    while states(platform)["s3"] != "dead":
        pass
    assert port_taken(settings.port("s3"))
    platform.up()
    assert states(platform) == {"s3": "running"}


def test_a_service_that_dies_at_the_start_says_why(settings):
    script = "import sys; print('the reason'); sys.exit(3)"
    platform = Platform(settings, [server(settings, "s3", script)])
    with pytest.raises(SandboxError) as caught:
        platform.up()
    message = str(caught.value)
    assert message.startswith("s3 ended with exit status 3 while it started")
    assert str(settings.var / "log" / "s3.log") in message
    assert message.endswith("the reason")


def test_a_service_that_never_answers_is_named_with_its_address(settings):
    platform = Platform(settings, [server(settings, "s3", "import time; time.sleep(60)", deadline=0.5)])
    with pytest.raises(SandboxError, match=rf"did not answer at http://127.0.0.1:{settings.port('s3')} within"):
        platform.up()


def test_a_failed_preparation_stops_what_needs_it(settings):
    def fail() -> bool:
        raise SandboxError("no room")

    platform = Platform(settings, [Preparation("first", fail), server(settings, "s3", needs=("first",))])
    with pytest.raises(SandboxError, match="no room"):
        platform.up()
    assert states(platform) == {"s3": "stopped"}


def test_what_was_still_starting_when_another_failed_is_not_called_up(settings):
    announced: list[tuple[str, str]] = []
    slow = "import time; time.sleep(2)\n" + SERVER
    nodes = [server(settings, "s3", slow), server(settings, "airbyte", "raise SystemExit(3)")]
    platform = Platform(settings, nodes, lambda name, event, seconds: announced.append((name, event)))
    try:
        with pytest.raises(SandboxError, match="airbyte ended with exit status 3"):
            platform.up()
        assert ("s3", "up") not in announced
    finally:
        platform.down()


def test_only_what_is_asked_for_and_its_needs_start(settings):
    platform = Platform(
        settings, [server(settings, "s3"), server(settings, "airbyte", needs=("s3",)), server(settings, "superset")]
    )
    platform.up(["airbyte"])
    assert states(platform) == {"s3": "running", "airbyte": "running", "superset": "stopped"}
    with pytest.raises(SandboxError, match="no service 'nothing'"):
        platform.up(["nothing"])
