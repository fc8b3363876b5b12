"""The console's files as they are served: all there, nothing from elsewhere, nothing inline."""

import re
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from agent.console_page import FOLDER, TYPES
from tests.agent.test_control import Calls, app_of

FILES = sorted(path.name for path in FOLDER.iterdir())


async def test_every_file_is_served_to_anybody_with_its_type_and_a_strict_policy() -> None:
    async with TestClient(TestServer(app_of(Calls()))) as client:
        for path in ["/", *(f"/console/{name}" for name in FILES)]:
            answer = await client.get(path)
            assert answer.status == 200, path
            suffix = Path(path).suffix or ".html"
            assert answer.headers["Content-Type"] == TYPES[suffix]
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'") and "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-cache" and "ETag" in answer.headers
        data = await client.get("/v1/calls")
        assert data.headers["Cache-Control"] == "no-store"
        assert data.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["%2e%2e%2fcontrol.py", "none.js", "app.js%00", "..%5ccontrol.py"])
async def test_nothing_beside_the_folder_is_served(name: str) -> None:
    async with TestClient(TestServer(app_of(Calls()))) as client:
        assert (await client.get(f"/console/{name}")).status in (401, 404)


def test_no_file_asks_for_anything_from_elsewhere_or_is_inline() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|javascript:|style=\"", text), name
        links = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", text)
        assert [link for link in links if not link.startswith("http://www.w3.org/")] == [], name


def test_every_module_that_is_imported_is_there() -> None:
    for name in FILES:
        for wanted in re.findall(r"from \"\./([\w.]+)\"", (FOLDER / name).read_text()):
            assert wanted in FILES, (name, wanted)
        for wanted in re.findall(r"(?<!v1)/console/([\w.]+)", (FOLDER / name).read_text()):
            assert wanted in FILES, (name, wanted)
