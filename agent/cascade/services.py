"""External recognisers, language models and synthesisers that speak OpenAI's HTTP interface.

Requests run on one event loop in a thread of its own; the methods here block and belong on a lane's thread.
Source: OpenAI's API reference: chat/completions (streamed as server-sent events), audio/transcriptions,
audio/speech (`pcm` is 16-bit at 24 kHz).
"""

from __future__ import annotations

import asyncio
import io
import json
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from functools import cache
from typing import Any, TypeVar

import aiohttp
import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import SecretStr

from agent.errors import AgentError

MAX_ANSWER_CHARACTERS = 4000
MAX_LINE_BYTES = 1 << 20
MAX_SPEECH_BYTES = 16 << 20
TRANSCRIBED_RATE_HZ = 16_000
_END = None

Answer = TypeVar("Answer")


class ServiceError(AgentError):
    """An external service did not answer, or not as it should; the message names it and its address."""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="services", daemon=True).start()
    return loop


class Service:
    """One address with its model and key."""

    def __init__(self, name: str, url: str, model: str, key: SecretStr | None, timeout_s: float) -> None:
        self._name, self._url, self._model, self._timeout_s = name, url.rstrip("/"), model, timeout_s
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, _loop()).result()

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._timeout_s, sock_connect=self._timeout_s, sock_read=self._timeout_s
        )
        return aiohttp.ClientSession(timeout=timeout, headers=self._headers, read_bufsize=MAX_LINE_BYTES)

    def _failed(self, error: Exception) -> ServiceError:
        kind = "said nothing in time" if isinstance(error, TimeoutError) else f"failed: {error}"
        where = f"OFFHOOK_CASCADE__{self._name}_URL={self._url}"
        return ServiceError(f"{where} {kind}; is it running, and does it serve the model {self._model}?")

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status >= 400:
            told = (await response.content.read(300)).decode(errors="replace")
            raise ServiceError(
                f"OFFHOOK_CASCADE__{self._name}_URL={self._url} answered {response.status}: {told.strip()}; "
                "check the address, the model's name and the key"
            )


class Chat(Service):
    """A language model."""

    def stream(self, messages: Sequence[dict[str, str]]) -> Generator[str, None, None]:
        """The answer in pieces, as they come. Raises ServiceError."""
        pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        task = asyncio.run_coroutine_threadsafe(self._pump(messages, pieces), _loop())
        try:
            while (piece := pieces.get()) is not _END:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            task.cancel()  # nobody listens any more

    async def _pump(
        self, messages: Sequence[dict[str, str]], pieces: queue.SimpleQueue[str | Exception | None]
    ) -> None:
        try:
            num_characters = 0
            async for piece in self._ask(messages):
                pieces.put(piece)
                num_characters += len(piece)
                if num_characters > MAX_ANSWER_CHARACTERS:
                    break
            pieces.put(_END)
        except ServiceError as error:
            pieces.put(error)
        except (
            aiohttp.ClientError,
            OSError,
            TimeoutError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
        ) as error:
            pieces.put(self._failed(error))

    async def _ask(self, messages: Sequence[dict[str, str]]) -> AsyncIterator[str]:
        wanted = {"model": self._model, "messages": list(messages), "stream": True}
        async with (
            self._session() as session,
            session.post(f"{self._url}/chat/completions", json=wanted) as response,
        ):
            await self._check(response)
            async for line in response.content:
                text = line.decode().strip()
                if not text.startswith("data:"):
                    continue
                told = text.removeprefix("data:").strip()
                if told == "[DONE]":
                    return
                choices = json.loads(told)["choices"]
                if choices and (piece := choices[0]["delta"].get("content")):
                    yield str(piece)


class Transcriber(Service):
    """A recogniser."""

    def transcribe(self, pcm: NDArray[np.int16]) -> str:
        """The words in int16 [T] at 16 kHz. Raises ServiceError."""
        file = io.BytesIO()
        soundfile.write(file, pcm, TRANSCRIBED_RATE_HZ, format="WAV", subtype="PCM_16")
        try:
            return self._run(self._transcribe(file.getvalue()))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise self._failed(error) from None

    async def _transcribe(self, wav: bytes) -> str:
        form = aiohttp.FormData()
        form.add_field("file", wav, filename="turn.wav", content_type="audio/wav")
        form.add_field("model", self._model)
        form.add_field("response_format", "json")
        async with (
            self._session() as session,
            session.post(f"{self._url}/audio/transcriptions", data=form) as response,
        ):
            await self._check(response)
            return str((await response.json())["text"])


class Speech(Service):
    """A synthesiser."""

    def __init__(
        self, name: str, url: str, model: str, key: SecretStr | None, timeout_s: float, voice: str
    ) -> None:
        super().__init__(name, url, model, key, timeout_s)
        self._voice = voice

    def speak(self, text: str) -> NDArray[np.float32]:
        """The text as sound, float32 [T] at 24 kHz. Raises ServiceError."""
        try:
            sound = self._run(self._speak(text))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._failed(error) from None
        pcm = np.frombuffer(sound[: len(sound) // 2 * 2], "<i2")
        if not len(pcm):
            raise self._failed(ValueError("it sent no sound"))
        return pcm.astype(np.float32) / np.float32(32_768)

    async def _speak(self, text: str) -> bytes:
        wanted = {"model": self._model, "voice": self._voice, "input": text, "response_format": "pcm"}
        async with (
            self._session() as session,
            session.post(f"{self._url}/audio/speech", json=wanted) as response,
        ):
            await self._check(response)
            sound = bytearray()
            async for block in response.content.iter_any():
                sound += block
                if len(sound) > MAX_SPEECH_BYTES:
                    raise ServiceError(f"{self._url} sent more sound than {MAX_SPEECH_BYTES} bytes")
            return bytes(sound)
