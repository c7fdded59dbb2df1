"""Stock Python clients that print what they see, a line each, and go on from their cursors.

    follow.py NAME URL TOKEN ...    a name that ends in -ws: WebSocket only; in -polling: no WebSocket;
                                    in -threads: the blocking client; ROOMS: what they join
"""

import asyncio
import faulthandler
import os
import random
import signal
import sys
import threading
import time

import socketio

ROOMS = os.environ["ROOMS"].split()
FAST = {"reconnection_delay": 0.02, "reconnection_delay_max": 0.05, "randomization_factor": 0}
PATIENCE = 15
GIVEN_UP = 12  # seconds without a connection: longer than an attempt of the library takes
settling = threading.Event()
out = threading.Lock()


def say(*words):
    with out:
        print(*words, flush=True)


class Follower:
    """What both kinds of client keep and print."""

    def __init__(self, name, token):
        self.name, self.token = name, token
        self.cursor, self.rooms, self.session = None, [], 0
        self.client, self.seen_connected = None, time.monotonic()

    def auth(self):
        return {"token": self.token, "cursor": self.cursor, "rooms": self.rooms}

    def heard(self, event, args):
        cursor = next((a for a in args if isinstance(a, str) and a.startswith("v1.")), None)
        self.cursor = cursor or self.cursor
        data = args[0]["data"] if isinstance(args[0], dict) else None
        if event == "connection_established":
            self.session += 1
            say(self.name, "session", data["resume"], data["connection_id"])
        elif event == "resync_required":
            say(self.name, "fault", "resync_required", data["reason"])
        elif event == "asset_position_updated":
            say(self.name, "position", data["asset_id"], data["n"])
        elif event == "error":
            say(self.name, "fault", "error", data)
        elif data is not None and "stream" in data:
            say(self.name, "event", data["stream"], data["n"], data["order"])

    def refused(self, answer):
        if not answer["success"]:
            say(self.name, "fault", "the answer is", answer)


def stranded(sio, me):
    """Whether the library has given up (python-socketio 5.18.1, see docs/clients.md): it takes an ended connection for a standing one, or
    its reconnects have ended with an error that it does not expect. Another client then goes on from the cursor."""
    if sio.connected and sio.eio.state == "connected":
        me.seen_connected = time.monotonic()
    lost = sio.connected and sio.eio.state == "disconnected"
    if not lost and time.monotonic() - me.seen_connected < GIVEN_UP:
        return False
    sio.reconnection_attempts = 1
    me.seen_connected = time.monotonic()
    say(me.name, "stranded")
    return True


async def follow(name, url, token):
    me = Follower(name, token)
    sio = await connected(me, url)
    while me.session == 0:
        await asyncio.sleep(0.01)
    me.refused(await sio.call("subscribe", {"rooms": ROOMS}, timeout=PATIENCE))
    me.rooms = ROOMS
    say(name, "ready")
    while True:
        await asyncio.sleep(random.uniform(0.05, 0.3))
        if stranded(sio, me):
            sio = await connected(me, url)
        if settling.is_set() or not sio.connected:
            continue
        session = me.session
        say(name, "asked")
        try:
            answer = await ask(sio, me, session)
        except socketio.exceptions.SocketIOError:
            answer = None
        if answer is not None:
            me.refused(answer)
            say(name, "answered")
        elif me.session == session and sio.connected and sio.eio.state == "connected":
            say(name, "fault", "a command was not answered")
        else:
            say(name, "cut")


async def connected(me, url):
    sio = me.client = socketio.AsyncClient(**FAST)

    @sio.on("*")
    async def on_event(event, *args):
        if me.client is sio:
            me.heard(event, args)

    only = {"ws": ["websocket"], "polling": ["polling"]}
    transports = only.get(me.name.rsplit("-", 1)[-1])
    await until_connected(sio.connect, url, auth=me.auth, transports=transports)
    return sio


async def until_connected(connect, url, **options):
    """The first connect is tried once."""
    while True:
        try:
            return await connect(url, **options)
        except Exception:  # aiohttp's own come through
            await asyncio.sleep(0.1)


async def ask(sio, me, session):
    """The answer, or None as soon as the connection has ended: the library itself waits to the end."""
    call = asyncio.ensure_future(sio.call("rooms", {}, timeout=PATIENCE))
    while not call.done():
        await asyncio.sleep(0.01)
        if me.session != session or sio.eio.state == "disconnected":
            call.cancel()
            return None
    return call.result()


def follow_with_threads(name, url, token):
    me = Follower(name, token)
    sio = connected_with_threads(me, url)
    while me.session == 0:
        time.sleep(0.01)
    me.refused(sio.call("subscribe", {"rooms": ROOMS}, timeout=PATIENCE))
    me.rooms = ROOMS
    say(name, "ready")
    while True:
        time.sleep(0.2)
        if stranded(sio, me):
            sio = connected_with_threads(me, url)


def connected_with_threads(me, url):
    sio = me.client = socketio.Client(**FAST)

    @sio.on("*")
    def on_event(event, *args):
        if me.client is sio:
            me.heard(event, args)

    while True:
        try:
            sio.connect(url, auth=me.auth)
            return sio
        except Exception:
            time.sleep(0.1)


def commands():
    for line in sys.stdin:
        if line.strip() == "settle":
            settling.set()
    os._exit(0)


async def main():
    faulthandler.register(signal.SIGUSR1)  # what each thread does, for a failure's report
    threading.Thread(target=commands, daemon=True).start()
    tasks = []
    for at in range(1, len(sys.argv), 3):
        name, url, token = sys.argv[at : at + 3]
        if name.endswith("-threads"):
            threading.Thread(target=follow_with_threads, args=(name, url, token), daemon=True).start()
        else:
            tasks.append(asyncio.create_task(follow(name, url, token)))
    await asyncio.gather(*tasks, asyncio.Event().wait())  # to the end of the input


asyncio.run(main())
