"""Sealed recordings over HTTP: as if they were WAV files."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient, TestServer

from agent.http_errors import errors_as_json
from agent.recording_files import write_sidecar
from agent.recording_index import RecordingIndex
from agent.recording_routes import add_recording_routes
from agent.sealed import Keyring, SealKey
from agent.sealed_audio import SealedSink

STEM = "20260102T030405Z-1a2b3c4d"
KEY = SealKey(b"k" * 32)
SOUND = np.random.default_rng(7).integers(-9000, 9000, (60_000, 2)).astype(np.int16)
URL = f"/v1/recordings/{STEM}"
Client = TestClient[Any, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / f"{STEM}.sealed"
    sink = SealedSink(made, KEY)
    sink.write(SOUND)
    sink.close()
    write_sidecar(made, {"seconds": 2.5, "words": []}, KEY)
    return made


@pytest.fixture
async def client(path: Path) -> AsyncIterator[Client]:
    app = web.Application(middlewares=[errors_as_json])
    add_recording_routes(app, RecordingIndex(path.parent, Keyring([KEY])), b"s")
    async with TestClient(TestServer(app)) as made:
        yield made


async def test_the_whole_and_any_range_of_it(client: Client) -> None:
    answer = await client.get(f"{URL}/audio?download=1")
    whole = await answer.read()
    assert (answer.status, answer.content_type) == (200, "audio/wav")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{STEM}.wav"'
    np.testing.assert_array_equal(soundfile.read(io.BytesIO(whole), dtype="int16")[0], SOUND)
    for asked, part in (("0-99", whole[:100]), ("100000-", whole[100_000:]), ("-50", whole[-50:])):
        answer = await client.get(f"{URL}/audio", headers={"Range": f"bytes={asked}"})
        assert answer.status == 206 and await answer.read() == part, asked
        assert answer.headers["Content-Range"].endswith(f"/{len(whole)}")
    for asked in ("999999999-", "9-3"):
        answer = await client.get(f"{URL}/audio", headers={"Range": f"bytes={asked}"})
        assert answer.status == 416, asked
    answer = await client.head(f"{URL}/audio")
    assert answer.headers["Content-Length"] == str(len(whole))


async def test_words_and_outline_are_there_too(client: Client) -> None:
    assert (await (await client.get(URL)).json())["seconds"] == 2.5
    outline = await (await client.get(f"{URL}/waveform")).json()
    assert outline["seconds"] == 2.5 and len(outline["caller"]) == 2 * 63  # 40 ms each, the last begun
    assert max(outline["caller"]) == round(SOUND[:, 0].max() / 258)


def damage(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


async def test_a_file_that_was_changed_is_never_taken_for_a_whole_one(client: Client, path: Path) -> None:
    damage(path, 60_000)  # in the first second
    with pytest.raises(ClientPayloadError):
        await (await client.get(f"{URL}/audio")).read()
    damage(path, 5)
    answer = await client.get(f"{URL}/audio")
    assert answer.status == 409 and json.loads(await answer.read())["error"]["code"] == "unreadable_audio"
    assert (await client.get(f"{URL}/waveform")).status == 409
