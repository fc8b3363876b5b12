"""A local server that speaks OpenAI's interface as its reference documents it, and can misbehave."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
from aiohttp import web

from tests.signals import tone

KEY = "a-secret-key"


@dataclass
class Service:
    """What it was asked, what it answers."""

    answers: list[str] = field(default_factory=lambda: ["Hello. ", "What can I ", "get you?"])
    words: str = "can i get a small mocha"
    status: int = 200
    hang_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: one chunk object each, then [DONE]."""
        body = await request.json()
        await self._note(request, body)
        if self.status != 200:
            return web.json_response({"error": {"message": "no such model"}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunks: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
        chunks += [{"delta": {"content": piece}} for piece in self.answers]
        chunks += [{"delta": {}, "finish_reason": "stop"}]
        for choice in chunks:
            told = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
            await response.write(f"data: {json.dumps(told)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def transcribe(self, request: web.Request) -> web.Response:
        """Multipart form with a WAV file."""
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        with file.file as sent:
            pcm, rate_hz = soundfile.read(io.BytesIO(sent.read()), dtype="int16")
        await self._note(request, {"model": form["model"], "samples": len(pcm), "rate_hz": rate_hz})
        return web.json_response({"text": self.words}, status=self.status)

    async def speak(self, request: web.Request) -> web.Response:
        """Raw 16-bit samples at 24 kHz."""
        body = await request.json()
        await self._note(request, body)
        if self.status != 200:
            return web.Response(status=self.status, text="no")
        pcm = (tone(500, 0.5, 24_000, amplitude=0.3) * 32_767).astype("<i2")
        return web.Response(body=np.asarray(pcm).tobytes(), content_type="audio/pcm")

    async def _note(self, request: web.Request, body: dict[str, Any]) -> None:
        self.asked.append({**body, "key": request.headers.get("Authorization", "")})
        await asyncio.sleep(self.hang_s)


@contextmanager
def served() -> Iterator[Service]:
    """The server on a free port of this machine, on a thread of its own."""
    service, loop = Service(), asyncio.new_event_loop()
    runner = web.AppRunner(_application(service), shutdown_timeout=0.1)

    async def begin() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        service.url = f"http://127.0.0.1:{port}/v1"
        yield service
    finally:
        asyncio.run_coroutine_threadsafe(_end(runner), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(runner: web.AppRunner) -> None:
    """Also of requests that nobody waits for any more."""
    await runner.cleanup()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _application(service: Service) -> web.Application:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", service.chat)
    application.router.add_post("/v1/audio/transcriptions", service.transcribe)
    application.router.add_post("/v1/audio/speech", service.speak)
    return application
