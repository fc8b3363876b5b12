"""Bodies of POST /v1/live/sessions: what is taken, and how what is wrong is told."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.live_errors import LiveError
from agent.live_request import read_request

MODELS = {"builtin"}


def body(session: Any = None, transport: Any = None, **more: Any) -> bytes:
    tree = {
        "session": {"model": "offhook"} if session is None else session,
        "transport": {"type": "webrtc", "sdp": "v=0"} if transport is None else transport,
        **more,
    }
    return json.dumps(tree).encode()


@pytest.mark.parametrize("model", ["offhook", "builtin", "gpt-live-1", "gpt-live-1.1"])
def test_our_models_and_the_stock_names_are_taken(model: str) -> None:
    request = read_request(body({"model": model}), MODELS, "")
    assert (request.session.model, request.transport.sdp) == (model, "v=0")


def test_what_asks_for_nothing_is_taken() -> None:
    session: dict[str, Any] = {
        "model": "offhook",
        "instructions": "",
        "input": [],
        "delegation": None,
        "store": False,
        "triggers": [],
        "audio": {"output": {"voice": "anna"}},
        "safety_identifier": "user-7",
    }
    request = read_request(body(session), MODELS, "anna")
    assert (request.session.voice, request.session.safety_identifier) == ("anna", "user-7")


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"\xff", "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b"3", "invalid_json", None),
        (body({}), "missing_required_parameter", "session.model"),
        (body({"model": 7}), "invalid_value", "session.model"),
        (body({"model": ""}), "invalid_value", "session.model"),
        (body({"model": "x" * 300}), "invalid_value", "session.model"),
        (body({"model": "gpt-live-10"}), "model_not_found", "session.model"),
        (body([]), "invalid_value", "session"),
        (body({"model": "offhook", "temperature": 1}), "unknown_parameter", "session.temperature"),
        (
            body({"model": "offhook", "audio": {"format": {}}}),
            "unknown_parameter",
            "session.audio.format",
        ),
        (body(extra=1), "unknown_parameter", "extra"),
        (body(transport={"type": "webrtc"}), "missing_required_parameter", "transport.sdp"),
        (body(transport={"type": "webrtc", "sdp": ""}), "invalid_value", "transport.sdp"),
        (body(transport={"type": "sip", "sdp": "v=0"}), "invalid_value", "transport.type"),
        (
            body({"model": "offhook", "delegation": {"type": "responses"}}),
            "unsupported_value",
            "session.delegation",
        ),
        (body({"model": "offhook", "instructions": "Be kind."}), "unsupported_value", "session.instructions"),
        (body({"model": "offhook", "store": True}), "unsupported_value", "session.store"),
        (
            body({"model": "offhook", "audio": {"output": {"voice": "marin"}}}),
            "unsupported_value",
            "session.audio.output.voice",
        ),
    ],
)
def test_what_is_wrong_is_told_by_code_and_place(raw: bytes, code: str, param: str | None) -> None:
    with pytest.raises(LiveError) as caught:
        read_request(raw, MODELS, "anna")
    told = caught.value.as_json()
    assert (told["code"], told["param"], told["type"]) == (code, param, "invalid_request_error")
    assert told["message"].endswith(".")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["model", "audio", "input", "delegation", "type", "sdp", "store", "x"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(st.dictionaries(st.sampled_from(["session", "transport", "x"]), st.dictionaries(NAMES, JSON) | JSON))
def test_any_body_is_a_request_or_an_error_of_ours(tree: dict[str, Any]) -> None:
    try:
        read_request(json.dumps(tree).encode(), MODELS, "")
    except LiveError as error:
        assert error.status == 400 and len(str(error)) < 400
