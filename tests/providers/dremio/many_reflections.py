"""A Dremio, in a process of its own, with as many reflections as are asked for: each is refreshed at the third look.

Its port is the first line of its output. A request for a reflection is held up for a while, as a busy server would.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

OLD, NEW = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"
LOOKS = 3
seen: Counter[str] = Counter()


def body(path: str) -> dict[str, object]:
    if path == "/apiv2/login":
        return {"token": "t1", "userName": "airflow"}
    seen[path] += 1
    done = seen[path] >= LOOKS
    status = {
        "config": "OK",
        "refresh": "MANUAL" if done else "RUNNING",
        "availability": "AVAILABLE",
        "combinedStatus": "CAN_ACCELERATE",
        "failureCount": 0,
        "lastDataFetch": NEW if done else OLD,
        "lastRefreshFinished": NEW if done else OLD,
    }
    return {"id": path.rpartition("/")[2], "enabled": True, "status": status}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            path, length = line.split()[1].decode(), 0
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            await reader.readexactly(length)
            await asyncio.sleep(0.02)
            payload = json.dumps(body(path)).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
            writer.write(head.encode() + payload)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
