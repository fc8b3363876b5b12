"""Recordings over HTTP, asked with a key that may read them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agent.caller_hash import caller_hash
from agent.http_errors import errors_as_json
from agent.recording_index import RecordingIndex
from agent.recording_routes import add_recording_routes

SALT = b"s" * 32
STEM = "20260102T030405Z-1a2b3c4d"
Client = TestClient[Any, Any]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    sound = np.zeros((24_000, 2), np.int16)
    sound[12_000:, 0] = 16_000
    soundfile.write(tmp_path / f"{STEM}.flac", sound, 24_000)
    sidecar = {
        "audio": f"{STEM}.flac",
        "started_at_ms": 1_767_323_045_000,
        "seconds": 1.0,
        "end_reason": "caller_hung_up",
        "caller_hash": caller_hash(SALT, "+15550100"),
        "words": [{"speaker": "caller", "text": "hello", "start_s": 0.5, "end_s": 0.9}],
    }
    (tmp_path / f"{STEM}.json").write_text(json.dumps(sidecar))
    async with TestClient(TestServer(app(RecordingIndex(tmp_path)))) as made:
        yield made


def app(index: RecordingIndex | None) -> web.Application:
    made = web.Application(middlewares=[errors_as_json])
    add_recording_routes(made, index, SALT)
    return made


async def listed(client: Client, query: str) -> list[str]:
    answer = await client.get(f"/v1/recordings?{query}")
    assert answer.status == 200, await answer.text()
    return [one["id"] for one in (await answer.json())["recordings"]]


async def test_search_by_what_a_supervisor_knows(client: Client) -> None:
    for query in ("", "caller=%2B1+555+0100", "min_s=1", "outcome=caller_hung_up", "from=1767323045000"):
        assert await listed(client, query) == [STEM], query
    for query in ("caller=911", "min_s=1.5", "outcome=transferred", "to=1767323045000", f"cursor={STEM}"):
        assert await listed(client, query) == [], query


@pytest.mark.parametrize(
    "query", ["from=yesterday", "min_s=x", "colour=red", f"caller={'1' * 201}", "to=1e3"]
)
async def test_a_search_that_makes_no_sense_is_told(client: Client, query: str) -> None:
    answer = await client.get(f"/v1/recordings?{query}")
    error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (422, "unusable_request") and query.split("=")[0] in error[
        "message"
    ]


async def test_one_recording_with_words_and_without_a_number(client: Client) -> None:
    body = await (await client.get(f"/v1/recordings/{STEM}")).json()
    assert body["words"][0]["text"] == "hello" and body["recording"]["id"] == STEM
    assert "15550100" not in json.dumps(body)


async def test_sound_comes_whole_and_in_ranges(client: Client) -> None:
    whole = await client.get(f"/v1/recordings/{STEM}/audio")
    sound = await whole.read()
    assert whole.headers["Content-Type"] == "audio/flac" and sound.startswith(b"fLaC")
    assert whole.headers["Content-Disposition"].startswith("inline")
    part = await client.get(f"/v1/recordings/{STEM}/audio", headers={"Range": "bytes=4-11"})
    assert part.status == 206 and await part.read() == sound[4:12]
    assert part.headers["Content-Range"] == f"bytes 4-11/{len(sound)}"
    beyond = await client.get(f"/v1/recordings/{STEM}/audio", headers={"Range": "bytes=999999-"})
    assert beyond.status == 416
    asked = await client.get(f"/v1/recordings/{STEM}/audio?download=1")
    assert asked.headers["Content-Disposition"] == f'attachment; filename="{STEM}.flac"'


async def test_the_outline_is_that_of_the_sound(client: Client) -> None:
    body = await (await client.get(f"/v1/recordings/{STEM}/waveform")).json()
    greatest = body["caller"][1::2]
    assert body["seconds"] == 1 and max(greatest[: len(greatest) // 2 - 1]) == 0 and greatest[-1] == 62
    assert not any(body["agent"])


@pytest.mark.parametrize("rest", ["", "/audio", "/waveform"])
@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2fetc", f"{STEM}.json", "20990101T000000Z-aa"])
async def test_what_is_not_in_the_folder_is_not_found(client: Client, name: str, rest: str) -> None:
    answer = await client.get(f"/v1/recordings/{name}{rest}")
    assert answer.status == 404


async def test_spoilt_audio_is_told(client: Client, tmp_path: Path) -> None:
    (tmp_path / f"{STEM}.flac").write_bytes(b"no sound")
    answer = await client.get(f"/v1/recordings/{STEM}/waveform")
    assert (answer.status, (await answer.json())["error"]["code"]) == (409, "unreadable_audio")
    (tmp_path / f"{STEM}.flac").unlink()
    for rest in ("audio", "waveform"):
        assert (await client.get(f"/v1/recordings/{STEM}/{rest}")).status == 404


async def test_where_nothing_is_recorded_the_list_says_so() -> None:
    async with TestClient(TestServer(app(None))) as made:
        assert (await (await made.get("/v1/recordings")).json())["enabled"] is False
        assert (await made.get(f"/v1/recordings/{STEM}")).status == 404
