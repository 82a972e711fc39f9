"""A real HTTP server that misbehaves on cue; a process of its own, driven by lines on its standard input.

    zone NAME   answer 200 and say that NAME served          status N   answer with that status
    stall       take requests and leave them unanswered      cut        break off in the middle of the body
    hang-up     close the connection instead of answering    redirect   answer 307 to another path
    not-json    answer 200 with something else               down       refuse connections, reset those there are
    report      what arrived so far                          forget      reset what there is, begin anew as zone a

Each line is answered by one line of JSON with the CLOCK_MONOTONIC time at which it took effect: the truth to measure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

BODY = b'{"predictions":[{"index":0,"label":"x","logit":1.0,"score":0.9}]}'


class CuedServer:
    def __init__(self) -> None:
        self.mode = ["zone", "a"]
        self.resume = asyncio.Event()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self.arrivals: list[float] = []
        self.paths: list[str] = []
        self.last: dict[str, str] = {}

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, reuse_address=True, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def cue(self, line: str) -> dict[str, object]:
        if line == "report":
            return {
                "connections": self.connections,
                "requests": len(self.arrivals),
                "arrivals": self.arrivals,
                "paths": sorted(set(self.paths)),
                "last": self.last,
            }
        if line == "forget":
            for writer in self.writers:
                writer.transport.abort()
            self.connections, self.arrivals, self.paths, self.last = 0, [], [], {}
            line = "zone a"
        self.mode = line.split()
        self.resume.set()
        self.resume = asyncio.Event()
        if line == "down":
            assert self.server is not None
            self.server.close()
            self.server = None
            at = time.monotonic()
            for writer in self.writers:
                writer.transport.abort()
            return {"at": at}
        if self.server is None:
            await self.listen()
        return {"at": time.monotonic()}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self.answer(reader, writer):
                pass
        self.writers.discard(writer)
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.arrivals.append(time.monotonic())
        self.paths.append(request.split()[1])
        self.last = {**headers, "body": body.decode("latin-1")}
        if self.mode[0] == "stall":
            await self.resume.wait()
        kind, word = (*self.mode, "")[:2]
        if kind == "hang-up":
            return False
        zone = f"X-Served-Zone: {word}\r\nX-Served-Host: {word}-1\r\n" if kind == "zone" else ""
        status = {"status": f"{word} Cued", "redirect": "307 Cued"}.get(kind, "200 OK")
        more = "Location: /elsewhere\r\n" if kind == "redirect" else ""
        content = b"hello" if kind == "not-json" else BODY
        writer.write(f"HTTP/1.1 {status}\r\n{zone}{more}Content-Length: {len(content)}\r\n\r\n".encode())
        writer.write(content[:10] if kind == "cut" else content)
        await writer.drain()
        return kind != "cut" and headers.get("connection") != "close"


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    server = CuedServer()
    await server.listen()
    say({"port": server.port})
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(await server.cue(line.strip()))


if __name__ == "__main__":
    asyncio.run(main())
