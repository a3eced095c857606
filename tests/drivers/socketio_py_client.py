"""Drives the Socket.IO client of PyPI, python-socketio: python3 socketio_py_client.py PACKAGE_FOLDER.

One JSON command per line on standard input, one JSON answer per line on standard output:

  in   {"id":1,"do":"name",...}
  out  {"id":1,"ok":value}   {"id":1,"error":{"name","message","code"}}   {"event":"name",...}

The end of the input ends the program.

  connect   {url, namespace, transports, auth}   the transport in use
  transport {}                                   the transport in use
  call      {name, arg}                          an event with an acknowledgement: its first argument
  emit      {name, arg}                          an event
  burst     {name, count}                        that many events with the numbers from 0
  heard     {count}                              waits for that many events `n`: their arguments
  leave     {}

Requests of the server are acknowledged with their own arguments. Bytes are {"hex": "00ff"}.
"""
import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])
import socketio  # noqa: E402

NUMBERS = []
STATE = {}


def write(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def shown(value):
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def meant(value):
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) and "hex" in value else value


async def connect(url, namespace, transports, auth):
    client = STATE["client"] = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    STATE["namespace"] = namespace
    STATE["more"] = asyncio.Event()

    @client.on("*", namespace=namespace)
    async def _heard(name, *args):
        if name == "n":
            NUMBERS.extend(args)
            STATE["more"].set()
        else:
            write({"event": "heard", "name": name, "args": [shown(one) for one in args]})
        return args

    @client.on("connect_error", namespace=namespace)
    async def _refused(data):
        write({"event": "refused", "data": data})

    @client.on("disconnect", namespace=namespace)
    async def _disconnect(*reason):
        write({"event": "disconnect", "reason": str(reason)})

    await client.connect(url, auth=auth, namespaces=[namespace], transports=transports, wait_timeout=10)
    return client.transport()


async def transport():
    return STATE["client"].transport()


async def call(name, arg):
    return shown(await STATE["client"].call(name, meant(arg), namespace=STATE["namespace"], timeout=10))


async def emit(name, arg):
    await STATE["client"].emit(name, meant(arg), namespace=STATE["namespace"])


async def burst(name, count):
    for number in range(count):
        await STATE["client"].emit(name, number, namespace=STATE["namespace"])


async def heard(count):
    while len(NUMBERS) < count:
        STATE["more"].clear()
        await STATE["more"].wait()
    return NUMBERS


async def leave():
    await STATE["client"].disconnect()


COMMANDS = {f.__name__: f for f in (connect, transport, call, emit, burst, heard, leave)}


async def run(line):
    command = json.loads(line)
    number, name = command.pop("id"), command.pop("do")
    try:
        write({"id": number, "ok": await COMMANDS[name](**command)})
    except Exception as error:  # noqa: BLE001
        write({"id": number, "error": {"name": type(error).__name__, "message": str(error), "code": None}})


async def main():
    loop = asyncio.get_running_loop()
    tasks = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(run(line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
