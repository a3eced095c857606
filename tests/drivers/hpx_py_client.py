"""Drives the HPX client of PyPI, happypandax-client 1.0.0: python3 hpx_py_client.py PACKAGE_FOLDER.

One JSON command per line on standard input, one JSON answer per line on standard output:

  in   {"id":1,"do":"name",...}
  out  {"id":1,"ok":value}   {"id":1,"error":{"name","message","code"}}

The end of the input ends the program. `client` names one of several clients in this program and is "a" when absent.

  open          {client?, port, name?, session?}   connects: {version, guest_allowed, ready}
  login         {client?, user?, password?}        no user: as guest: {session, accepted}
  request_auth  {client?, user?, password?}        greeting and login once more: {session, accepted}
  call          {client?, calls}                   one message with a list of calls: the whole reply
  call_text     {client?, text}                    the same with the exact JSON text: {reply: its exact text}
  many          {port, connections, calls, fname?, session?, user?, password?}
                                                   that many clients at once, each `calls` echoes: {right, wrong}
  state         {client?}                          {alive, ready, accepted, session}
  close         {client?}

Errors carry the class name and code of the package. The package lies in PACKAGE_FOLDER.
"""
import json
import sys
import threading

sys.path.insert(0, sys.argv[1])
from happypandax_client import client as hpx  # noqa: E402

clients = {}


def opened(port, name="py-driver", session=""):
    client = hpx.Client(name, host="127.0.0.1", port=port, session_id=session)
    client.connect()
    return client


def login_state(client):
    return {"session": client.session, "accepted": client.accepted}


def do_open(client="a", **arguments):
    made = clients[client] = opened(**arguments)
    return {"version": made.version, "guest_allowed": made.guest_allowed, "ready": made.ready()}


def do_login(client="a", user=None, password=None):
    clients[client].handshake(user=user, password=password)
    return login_state(clients[client])


def do_request_auth(client="a", user=False, password=False):
    clients[client].request_handshake(user=user, password=password)
    return login_state(clients[client])


def do_call(calls, client="a"):
    return clients[client].send(calls)


def do_call_text(text, client="a"):
    """Sends the envelope around `text` without parsing or spelling it anew."""
    found = clients[client]
    head = json.dumps({"session": found.session, "name": found.name})
    return {"reply": found.send_bytes((head[:-1] + ', "data": ' + text + "}").encode())}


def do_many(port, connections, calls, fname="echo", session="", user=None, password=None):
    seen = {"right": 0, "wrong": 0, "sessions": [], "errors": []}
    lock = threading.Lock()

    def work(connection):
        try:
            client = opened(port, "py-driver-%d" % connection, session)
            if not session:
                client.handshake(user=user, password=password)
            right = 0
            for call in range(calls):
                value = {"connection": connection, "call": call, "text": "grüß 你好 <EOF" * (call % 7)}
                reply = client.send([{"fname": fname, "value": value}])
                right += reply["data"][0].get("data") == value
            with lock:
                seen["right"] += right
                seen["wrong"] += calls - right
                seen["sessions"].append(client.session)
            client.close()
        except Exception as error:  # noqa: BLE001
            with lock:
                seen["errors"].append(repr(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def do_state(client="a"):
    found = clients[client]
    return {"alive": found.alive(), "ready": found.ready(), "accepted": found.accepted, "session": found.session}


def do_close(client="a"):
    clients[client].close()


COMMANDS = {name[3:]: value for name, value in list(globals().items()) if name.startswith("do_")}

for line in sys.stdin:
    command = json.loads(line)
    number, verb = command.pop("id"), command.pop("do")
    try:
        answer = {"id": number, "ok": COMMANDS[verb](**command)}
    except Exception as error:  # noqa: BLE001
        answer = {"id": number, "error": {
            "name": type(error).__name__, "message": str(error), "code": getattr(error, "code", None)}}
    print(json.dumps(answer), flush=True)
