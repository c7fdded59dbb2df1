"""The stock Python client, over polling alone; prints the number of each event that it gets. It goes on from its cursor."""

import os
import sys
import threading

import socketio

lock = threading.Lock()
cursor, newest = None, -1
sio = socketio.Client(reconnection_delay=0.02, reconnection_delay_max=0.05, randomization_factor=0)


def auth():
    # What has come counts, and each event has a thread of its own here: the cursor is known when they have ended.
    for thread in threading.enumerate():
        if "_handle_eio_message" in thread.name:
            thread.join()
    token = {"token": os.environ["TOKEN"]}
    return {**token, "cursor": cursor} if cursor else token


@sio.on("*")
def on_event(event, *args):
    global cursor, newest
    # The threads may overtake each other.
    with lock:
        number = args[0]["data"]["n"] if event == "incident_created" else newest
        if number >= newest:
            newest = number
            cursor = next((a for a in args if isinstance(a, str) and a.startswith("v1.")), cursor)
        if event == "incident_created":
            print(f"event {number}", flush=True)
        elif event == "connection_established":
            print(f"resume {args[0]['data']['resume']}", flush=True)
        elif event == "resync_required":
            print("resync", flush=True)


sio.connect(os.environ["URL"], auth=auth, transports=["polling"], retry=True)
sys.stdin.read()
os._exit(0)
