#!/usr/bin/env python3
"""A small Sockhop adapter, and around it the program that `polywire conform` tests. Python 3.9, standard library only.

    polywire conform --mode both -- python3 examples/conform_sockhop.py

Sockhop as its 1.x peers speak it: a line of JSON each, {"type","data"} for an event, with an "id" for a call, and with that as
"callback_id" for its answer. Bodies are handed on as the text that stood on the line, so nothing of them is lost.
The lines on standard input and output are those of crates/conformance/CONTROL.md.
"""

import asyncio
import collections
import json
import os
import sys

MAX_LINE = 4 << 20  # bytes of one line, on the wire; beyond it the connection ends


# The adapter


def members(text):
    """The members of the JSON object in `text`, each as the text that stands there."""
    if not isinstance(json.loads(text), dict):
        raise ValueError("not an object")
    read = json.JSONDecoder().raw_decode
    skip = lambda at: next(i for i in range(at, len(text)) if text[i] not in " \t\r\n")
    found, at = {}, skip(skip(0) + 1)
    while text[at] != "}":
        key, at = read(text, at)
        start = skip(skip(at) + 1)
        _, end = read(text, start)
        found[key] = text[start:end]
        at = skip(end)
        at = skip(at + 1) if text[at] == "," else at
    return found


class Failure(Exception):
    """An answer that is an error: its code and its words."""


class Peer:
    """One connection, from either end."""

    def __init__(self, reader, writer, serve, hear):
        self.reader, self.writer, self.serve, self.hear = reader, writer, serve, hear
        self.waiting, self.serving, self.next_id, self.open = {}, set(), 0, True

    def send(self, kind, data, **ids):
        ids = "".join(f',"{name}":{value}' for name, value in ids.items())
        self.writer.write(f'{{"type":{json.dumps(kind)},"data":{data}{ids}}}\n'.encode())

    async def call(self, route, data):
        self.next_id += 1
        number, answer = f'"{self.next_id}"', asyncio.get_running_loop().create_future()
        self.waiting[number] = answer
        try:
            self.send(route, data, id=number)
            kind, data = await answer
        finally:
            self.waiting.pop(number, None)
        if kind == "Error":
            error = json.loads(data)["error"]
            raise Failure(error["code"], error["message"])
        return data

    async def run(self):
        """Reads to the end of the connection. A line that is no message is passed over."""
        try:
            while line := await self.reader.readline():
                try:
                    self.take(line.decode(errors="replace"))
                except (ValueError, RecursionError):
                    pass
        except (ValueError, ConnectionError):
            pass  # a line that is too long, or a connection that was reset
        self.open = False
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the connection ended"))
        self.writer.close()

    def take(self, line):
        message = members(line)
        kind, data = json.loads(message.get("type", '"Object"')), message.get("data", "{}")
        if "callback_id" in message:
            answer = self.waiting.get(message["callback_id"])
            if answer and not answer.done():
                answer.set_result((kind, data))
        elif kind == "SockhopPing":
            self.send("SockhopPong", data)
        elif "id" in message:
            task = asyncio.create_task(self.answer(kind, data, message["id"]))
            self.serving.add(task)
            task.add_done_callback(self.serving.discard)
        else:
            self.hear(kind, data)

    async def answer(self, route, data, number):
        try:
            self.send("Object", await self.serve(route, data), callback_id=number)
        except Failure as failure:
            error = {"error": dict(zip(("code", "message"), failure.args))}
            self.send("Error", json.dumps(error), callback_id=number)


# The program around it


class Program:
    def __init__(self):
        self.peer, self.peers, self.server, self.calls = None, set(), None, {}
        self.heard, self.came, self.ran = [], asyncio.Event(), collections.Counter()

    async def serve(self, route, data):
        """The service that the cases call."""
        if route == "echo":
            return data
        body = json.loads(data)
        if route == "fail":
            raise Failure(body["code"], body["message"])
        if route == "sleep":
            self.ran[body["key"]] += 1
            await asyncio.sleep(body["ms"] / 1000)
            return data
        if route == "ran":
            return json.dumps({"ran": self.ran[body["key"]]})
        raise Failure("not_found", f"nobody serves {route}")

    def hear(self, route, data):
        self.heard.append({"route": route, "body": data})
        self.came.set()

    async def accept(self, reader, writer):
        peer = Peer(reader, writer, self.serve, self.hear)
        self.peer = self.peer if self.peer and self.peer.open else peer
        self.peers.add(peer)
        try:
            await peer.run()
        except asyncio.CancelledError:
            pass  # the program ends; asyncio would write a trace of it
        self.peers.discard(peer)

    async def dial(self, ask):
        host, port = ask["address"].rsplit(":", 1)
        try:
            reader, writer = await asyncio.open_connection(host, int(port), limit=MAX_LINE)
        except OSError as error:
            return {"outcome": "failed", "message": str(error)}
        self.peer = Peer(reader, writer, self.serve, self.hear)
        self.peers = {self.peer}
        asyncio.create_task(self.peer.run())
        return {"outcome": "done"}

    async def call(self, ask):
        self.calls[ask["id"]] = asyncio.current_task()
        if "bytes" in ask:
            return {"outcome": "not_sent", "message": "lines of JSON carry no typed bytes"}
        if not (self.peer and self.peer.open):
            return {"outcome": "not_sent", "message": "not connected"}
        call = self.peer.call(ask["route"], ask.get("body", "{}"))
        try:
            return {"outcome": "answer", "body": await asyncio.wait_for(call, ask["timeout_ms"] / 1000)}
        except Failure as failure:
            return {"outcome": "failure", "code": failure.args[0], "message": failure.args[1]}
        except (asyncio.TimeoutError, ConnectionError) as error:
            return {"outcome": "unknown", "message": str(error) or "no answer in time"}
        except asyncio.CancelledError:
            return {"outcome": "given_up"}
        finally:
            del self.calls[ask["id"]]

    async def notify(self, ask):
        if not (self.peer and self.peer.open):
            return {"outcome": "not_sent", "message": "not connected"}
        self.peer.send(ask["route"], ask.get("body", "{}"))
        return {"outcome": "done"}

    async def report(self, ask):
        async def enough():
            while len(self.heard) < ask["count"]:
                self.came.clear()
                await self.came.wait()

        try:
            await asyncio.wait_for(enough(), ask["timeout_ms"] / 1000)
        except asyncio.TimeoutError:
            pass
        heard, self.heard = self.heard, []
        return {"outcome": "done", "events": heard}

    async def give_up(self, ask):
        self.calls[ask["call"]].cancel()
        return {"outcome": "done"}

    async def close(self, _):
        if self.server:
            self.server.close()
        serving = [task for peer in self.peers for task in peer.serving]
        await asyncio.gather(*serving, *self.calls.values())
        for peer in self.peers:
            peer.open = False
            peer.writer.close()
        return {"outcome": "done"}

    async def do(self, ask):
        verbs = {"dial": self.dial, "call": self.call, "notify": self.notify, "heard": self.report}
        verbs |= {"give_up": self.give_up, "close": self.close}
        said = await verbs[ask["do"]](ask)
        print(json.dumps({"id": ask["id"], **said}), flush=True)

    async def main(self):
        port = 0
        if os.environ["POLYWIRE_MODE"] == "server":
            self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, limit=MAX_LINE)
            port = self.server.sockets[0].getsockname()[1]
        hello = {"hello": 1, "target": f"sockhop://127.0.0.1:{port}?mode=compat"}
        hello |= {"can": ["client_events", "push", "server_calls", "give_up"], "max_message_bytes": MAX_LINE}
        print(json.dumps(hello), flush=True)
        lines = asyncio.StreamReader(limit=64 << 20)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        tasks = set()
        while line := await lines.readline():
            ask = json.loads(line)
            if ask["do"] == "end":
                print(json.dumps({"id": ask["id"], "outcome": "done"}), flush=True)
                break
            task = asyncio.create_task(self.do(ask))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


asyncio.run(Program().main())
