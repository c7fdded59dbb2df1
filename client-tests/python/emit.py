"""The stock emitter of python-socketio: each line of its input is a call, `[method, arguments, keywords]`, and is answered with a line."""

import asyncio
import json
import os
import sys

import socketio


async def main():
    emitter = socketio.AsyncRedisManager(
        os.environ["URL"], channel=os.environ["CHANNEL"], write_only=True
    )
    for line in sys.stdin:
        method, arguments, keywords = json.loads(line)
        if method == "emit_several":
            event, *several = arguments
            method, arguments = "emit", [event, tuple(several)]
        if method == "emit_bytes":
            method, arguments = "emit", [arguments[0], {"bytes": b"\0"}]
        await getattr(emitter, method)(*arguments, **keywords)
        print("done", flush=True)


asyncio.run(main())
