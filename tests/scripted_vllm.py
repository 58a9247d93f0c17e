"""A vLLM that is none: the embedded engine at a URL, which sleeps and wakes and holds a device while it is awake.

Run as `python -m tests.scripted_vllm MODEL PORT DEVICE`, the device a `tests.device.Device`.
"""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from serve.engines.embedded.models import Sampler
from serve.engines.embedded.server import make_app
from tests.device import Device

NAME = "scripted"


async def serve(model: Path, port: int, device: Device) -> None:
    """Answer until told to stop."""
    sampler = Sampler(model, NAME)
    app = make_app(sampler)

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": NAME}]})

    async def sleep(request: web.Request) -> web.Response:
        assert dict(request.query) == {"level": "1", "mode": "wait"}
        device.give()
        return web.json_response({"status": "sleeping", "level": 1})

    async def wake_up(_: web.Request) -> web.Response:
        if not device.take():
            return web.json_response({"error": "CUDA out of memory"}, status=500)
        return web.json_response({"status": "awake", "tags": None})

    app.add_routes([web.get("/v1/models", models), web.post("/sleep", sleep), web.post("/wake_up", wake_up)])
    runner = web.AppRunner(app)
    await runner.setup()
    sampler.start()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await sampler.failed()


if __name__ == "__main__":
    held = Device(Path(sys.argv[3]))
    assert held.take(), "somebody else has the device"
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), held))
