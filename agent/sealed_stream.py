"""A sealed recording over HTTP, as the WAV file that it would be: opened second by second as it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from aiohttp import hdrs, web

from agent.errors import AudioFileError
from agent.http_errors import ApiError
from agent.sealed import Keyring, SealError
from agent.sealed_audio import SealedAudio


async def serve_sealed(
    request: web.Request, path: Path, keys: Keyring, recording_id: str
) -> web.StreamResponse:
    """Answer with the sound, or with the one range of it that is asked for (RFC 9110 section 14.2)."""
    try:
        audio = await asyncio.to_thread(SealedAudio, path, keys)
    except (SealError, AudioFileError) as error:
        raise ApiError(409, "unreadable_audio", f"{error}.", "See `offhook recordings open`.") from None
    with audio:
        start, stop = _asked(request, audio.num_wav_bytes)
        response = _head(request, recording_id, (start, stop, audio.num_wav_bytes))
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            parts = audio.wav(start, stop)
            try:
                while (part := await asyncio.to_thread(_next, parts)) is not None:
                    await response.write(part)
            except SealError:
                # What has been sent is not to be taken back; a length that is not kept tells the reader.
                response.force_close()
                return response
        await response.write_eof()
    return response


def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


def _asked(request: web.Request, length: int) -> tuple[int, int]:
    """First byte, and that after the last. Raises ApiError for a range that is not in it."""
    try:
        asked = request.http_range
        start, stop, _ = slice(asked.start, asked.stop).indices(length)
        is_inside = asked.start is None or -length <= asked.start < length
    except ValueError:
        start, stop, is_inside = 0, 0, False
    if not is_inside or start >= stop:
        headers: dict[str, str] = {hdrs.CONTENT_RANGE: f"bytes */{length}"}
        raise ApiError(416, "unusable_range", "There are no such bytes.", "Ask without Range.", headers)
    return start, stop


def _head(request: web.Request, recording_id: str, place: tuple[int, int, int]) -> web.StreamResponse:
    start, stop, length = place
    kind = "attachment" if request.query.get("download") else "inline"
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: "audio/wav",
        hdrs.CONTENT_LENGTH: str(stop - start),
        hdrs.CONTENT_DISPOSITION: f'{kind}; filename="{recording_id}.wav"',
        hdrs.CACHE_CONTROL: "private, no-cache",
        hdrs.ACCEPT_RANGES: "bytes",
    }
    is_part = hdrs.RANGE in request.headers
    if is_part:
        headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{length}"
    return web.StreamResponse(status=206 if is_part else 200, headers=headers)
