"""The recordings over HTTP: search, one of them, its sound, its outline.

    GET /v1/recordings?from=&to=&outcome=&transport=&caller=&caller_hash=&min_s=&cursor=
        {"recordings": [...], "cursor": ... or null}; times are Unix milliseconds
    GET /v1/recordings/{id}            the sidecar, with the list's fields
    GET /v1/recordings/{id}/audio      the file, also in ranges; ?download=1 as an attachment
    GET /v1/recordings/{id}/waveform   {"seconds", "caller": [least, greatest, ...], "agent": [...]}

Whoever may read recordings reads all of them: sound and words are what they are for. Numbers are in none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import hdrs, web

from agent.caller_hash import caller_hash
from agent.errors import AudioFileError
from agent.http_errors import ApiError
from agent.recording_index import Entry, RecordingIndex, Wanted
from agent.sealed import SealError
from agent.sealed_audio import SUFFIX
from agent.sealed_stream import serve_sealed
from agent.waveform import OutlineCache

KNOWN = {"from", "to", "outcome", "transport", "caller", "caller_hash", "min_s", "cursor"}
MAX_VALUE = 200
TYPES = {".flac": "audio/flac", ".wav": "audio/wav"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Recordings:
    index: RecordingIndex | None
    salt: bytes
    outlines: OutlineCache
    # One at a time: calls that end write their recordings in the same threads.
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def search(self, request: web.Request) -> web.Response:
        wanted, cursor = self._wanted(request)
        if self.index is None:
            return web.json_response({"recordings": [], "cursor": None, "enabled": False})
        entries, after = await asyncio.to_thread(self.index.page, wanted, cursor)
        body = {"recordings": [entry.as_json() for entry in entries], "cursor": after, "enabled": True}
        return web.json_response(body)

    async def show(self, request: web.Request) -> web.Response:
        index, entry = await self._found(request)
        sidecar = await asyncio.to_thread(index.sidecar, entry)
        if sidecar is None:
            raise _no_such_recording()
        return web.json_response({**sidecar, **{"recording": entry.as_json()}})

    async def audio(self, request: web.Request) -> web.StreamResponse:
        index, entry = await self._found(request)
        path = await asyncio.to_thread(index.audio_path, entry)
        if path is None:
            raise _no_such_recording()
        if path.suffix == SUFFIX and index.keys is not None:
            return await serve_sealed(request, path, index.keys, entry.recording_id)
        kind = "attachment" if request.query.get("download") else "inline"
        headers = {
            hdrs.CONTENT_TYPE: TYPES[path.suffix],
            hdrs.CONTENT_DISPOSITION: f'{kind}; filename="{entry.audio_name}"',
            hdrs.CACHE_CONTROL: "private, no-cache",
        }
        return web.FileResponse(path, headers=headers)

    async def waveform(self, request: web.Request) -> web.Response:
        index, entry = await self._found(request)
        try:
            path = await asyncio.to_thread(index.audio_path, entry)
            if path is None:
                raise _no_such_recording()
            async with self.reading:
                outline = await asyncio.to_thread(self.outlines.get, path, index.keys)
        except (AudioFileError, SealError) as error:
            raise ApiError(
                409, "unreadable_audio", f"{error}.", "Download it; an audio editor may mend it."
            ) from None
        return web.json_response(await asyncio.to_thread(outline.as_json))

    async def _found(self, request: web.Request) -> tuple[RecordingIndex, Entry]:
        if self.index is not None:
            entry = await asyncio.to_thread(self.index.find, request.match_info["recording_id"])
            if entry is not None:
                return self.index, entry
        raise _no_such_recording()

    def _wanted(self, request: web.Request) -> tuple[Wanted, str]:
        query = request.query
        for name in query:
            if name not in KNOWN or len(query[name]) > MAX_VALUE:
                raise _unusable(name, f"choose from {', '.join(sorted(KNOWN))}")
        hashed = query.get("caller_hash") or None
        if query.get("caller"):
            hashed = caller_hash(self.salt, query["caller"])
        wanted = Wanted(
            from_ms=_number(query.get("from"), "from", int),
            to_ms=_number(query.get("to"), "to", int),
            outcome=query.get("outcome") or None,
            caller_hash=hashed,
            min_s=_number(query.get("min_s"), "min_s", float),
            transport=query.get("transport") or None,
        )
        return wanted, query.get("cursor", "")


def add_recording_routes(app: web.Application, index: RecordingIndex | None, salt: bytes) -> None:
    """Add the four routes above; `index` is None where nothing is recorded."""
    recordings = _Recordings(index, salt, OutlineCache())
    app.router.add_get("/v1/recordings", recordings.search)
    app.router.add_get("/v1/recordings/{recording_id}", recordings.show)
    app.router.add_get("/v1/recordings/{recording_id}/audio", recordings.audio)
    app.router.add_get("/v1/recordings/{recording_id}/waveform", recordings.waveform)


def _number(text: str | None, name: str, kind: Callable[[str], T]) -> T | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise _unusable(name, "write a number") from None


def _unusable(name: str, remedy: str) -> ApiError:
    return ApiError(422, "unusable_request", f"The parameter {name[:40]!r} cannot be used.", f"{remedy}.")


def _no_such_recording() -> ApiError:
    return ApiError(
        404, "no_such_recording", "There is no recording of this id.", "GET /v1/recordings lists them."
    )
