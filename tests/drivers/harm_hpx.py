"""The HPX client of PyPI listening to what our server answers: python3 harm_hpx.py PACKAGE_FOLDER.

Commands as in harm.mjs, one JSON line each, and

  connect  {port}   as a guest
  refused  {port}   on a connection of its own, as somebody the server refuses: the words of it
  quit     {}       leaves, because the server has: trouble as in harm.mjs

Questions go out in messages of one to 128 calls. Only answers come on this wire. The end of the input ends the program.
Without `connect` it needs no package: `spell` alone says how Python reads what a Python server said.
"""
import json
import sys
import warnings

sys.path.insert(0, sys.argv[1])
import harm  # noqa: E402

TROUBLE = []
STATE = {}

warnings.showwarning = lambda message, *_: TROUBLE.append(str(message))


def connect(port):
    from happypandax_client import client as hpx

    client = STATE["client"] = hpx.Client("heard", host="127.0.0.1", port=port)
    client.connect()
    client.handshake()


def refused(port):
    from happypandax_client import client as hpx

    stranger = hpx.Client("stranger", host="127.0.0.1", port=port)
    stranger.connect()
    try:
        stranger.handshake(user="nobody", password="wrong")
    except Exception as error:  # noqa: BLE001
        return str(error)
    finally:
        stranger.close()
    raise RuntimeError("it is let in")


def quits():
    STATE["client"].close()
    return TROUBLE


def ask(count):
    answers = []
    while len(answers) < count:
        size = min(count - len(answers), 1 + (len(answers) * 7) % 128)
        calls = [{"fname": "question", "n": len(answers) + at} for at in range(size)]
        reply = STATE["client"].send(calls)
        if reply.get("error") or len(reply["data"]) != size:
            raise RuntimeError("not an answer: %.200s" % reply)
        for entry in reply["data"]:
            error = entry.get("error")
            answers.append(harm.digest("", {"error": error} if error else entry["data"]))
    return answers


def trouble():
    return TROUBLE if STATE["client"].alive() else TROUBLE + ["the connection has ended"]


COMMANDS = {
    "connect": connect,
    "refused": refused,
    "quit": quits,
    "ask": ask,
    "heard": lambda count: [],
    "spell": harm.spell,
    "trouble": trouble,
}

for line in sys.stdin:
    command = json.loads(line)
    number, verb = command.pop("id"), command.pop("do")
    try:
        answer = {"id": number, "ok": COMMANDS[verb](**command)}
    except Exception as error:  # noqa: BLE001
        answer = {"id": number, "error": {"name": type(error).__name__, "message": str(error), "code": None}}
    print(json.dumps(answer), flush=True)
