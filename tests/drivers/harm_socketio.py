"""PyPI python-socketio listening to what our server sends: python3 harm_socketio.py PACKAGE_FOLDER.

Commands as in harm.mjs, one JSON line each, and

  connect  {url, transports}   its client

What wants an acknowledgement gets {"seq": n}, the number of the message. The end of the input ends the program.
"""
import asyncio
import json
import logging
import sys

sys.path.insert(0, sys.argv[1])
import harm  # noqa: E402
import socketio  # noqa: E402

DIGESTS = []
TROUBLE = []
STATE = {}


def write(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def one(args):
    return harm.NOTHING if not args else args[0] if len(args) == 1 else list(args)


def hear(name, args):
    DIGESTS.append(harm.digest(name, one(args)))
    STATE["more"].set()
    return {"seq": len(DIGESTS) - 1}


def trouble(what):
    TROUBLE.append(what)
    STATE["more"].set()


class Log(logging.Handler):
    """Whatever the library complains of."""

    def emit(self, record):
        trouble(record.getMessage())


async def connect(url, namespace, transports):
    logger = logging.getLogger("heard")
    logger.addHandler(Log(logging.WARNING))
    logger.propagate = False
    client = STATE["client"] = socketio.AsyncClient(
        reconnection=False, handle_sigint=False, logger=logger, engineio_logger=logger)
    STATE["more"], STATE["namespace"] = asyncio.Event(), namespace
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: trouble(str(context)))

    @client.on("*", namespace=namespace)
    async def _heard(name, *args):
        return hear(name, args)

    @client.on("disconnect", namespace=namespace)
    async def _disconnect(*reason):
        trouble("disconnect: %s" % (reason,))

    await client.connect(url, namespaces=[namespace], transports=transports, wait_timeout=10)


async def connected():
    return None


async def heard(count):
    while len(DIGESTS) < count:
        if TROUBLE:
            raise RuntimeError("heard %d of %d, then %s" % (len(DIGESTS), count, TROUBLE))
        STATE["more"].clear()
        await STATE["more"].wait()
    return DIGESTS


async def ask(count, inflight=32):
    answers = [None] * count
    numbers = iter(range(count))

    async def worker():
        for number in numbers:
            done = asyncio.get_running_loop().create_future()

            def answered(*args, done=done):
                done.set_result(args)

            await STATE["client"].emit("question", {"n": number}, namespace=STATE["namespace"], callback=answered)
            answers[number] = harm.digest("", one(await asyncio.wait_for(done, 20)))

    await asyncio.gather(*(worker() for _ in range(inflight)))
    return answers


async def spell(path):
    return harm.spell(path)


async def troubles():
    return TROUBLE


COMMANDS = {"connect": connect, "connected": connected, "heard": heard, "ask": ask, "spell": spell, "trouble": troubles}


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
