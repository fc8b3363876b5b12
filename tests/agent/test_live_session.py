"""What a Live session tells its client, and when; over a channel and a call that move as told."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from agent import live_session as module
from agent.errors import EndReason
from agent.live_session import LiveSession, session_resource
from agent.session import Session
from agent.transcript import Speaker, TimedWord


class Call:
    """A session as far as its client's events go."""

    def __init__(self) -> None:
        self.audio_s = 1.0
        self.mutes: list[bool] = []
        self.ended: list[EndReason] = []
        self.tell_word: Callable[[TimedWord], None] = lambda _word: None
        self.tell_end: Callable[[EndReason], None] = lambda _reason: None

    def listen(self, listener: Callable[[TimedWord], None]) -> None:
        self.tell_word = listener

    def listen_end(self, listener: Callable[[EndReason], None]) -> None:
        self.tell_end = listener

    def mute_caller(self, is_muted: bool) -> None:
        self.mutes.append(is_muted)

    def hang_up(self, reason: EndReason) -> None:
        if not self.ended:
            self.ended.append(reason)
            self.tell_end(reason)


class Channel:
    """A data channel that keeps what it is given."""

    readyState = "open"

    def __init__(self, label: str = "oai-events") -> None:
        self.label, self.bufferedAmount = label, 0
        self.sent: list[dict[str, Any]] = []
        self.receive: Callable[[str | bytes], None] = lambda _message: None

    def send(self, data: str) -> None:
        self.sent.append(json.loads(data))

    def on(self, event: str, listener: Callable[[str | bytes], None]) -> None:
        assert event == "message"
        self.receive = listener

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.sent]


RESOURCE = session_resource("live_1", model="offhook", voice="", max_s=60)


@pytest.fixture
async def parts() -> tuple[Call, Channel, LiveSession]:
    call, channel = Call(), Channel()
    return call, channel, LiveSession(cast(Session, call), RESOURCE)


async def test_started_comes_first_and_then_what_was_said_before(
    parts: tuple[Call, Channel, LiveSession],
) -> None:
    call, channel, live = parts
    call.tell_word(TimedWord(Speaker.CALLER, "hello", 0.2, 0.5))
    live.on_channel(Channel("other"))
    live.on_channel(channel)
    second = Channel()
    live.on_channel(second)
    assert channel.kinds() == ["session.started", "session.input_transcript.delta"]
    assert channel.sent[0]["session"] == RESOURCE and second.sent == []
    word = channel.sent[1]
    assert (word["delta"], word["start_ms"], word["end_ms"]) == (" hello", 200, 500)
    call.hang_up(EndReason.CALLER_HUNG_UP)


async def test_the_agents_words_wait_until_they_are_heard(parts: tuple[Call, Channel, LiveSession]) -> None:
    call, channel, live = parts
    live.on_channel(channel)
    call.tell_word(TimedWord(Speaker.AGENT, "now", 0.9, 1.2))
    call.tell_word(TimedWord(Speaker.AGENT, "soon", 1.03, 1.4))
    call.tell_word(TimedWord(Speaker.AGENT, "never", 9.0, 9.5))
    assert [event.get("delta") for event in channel.sent[1:]] == [" now"]
    await asyncio.sleep(0.01)
    assert len(channel.sent) == 2
    call.audio_s = 1.04
    await asyncio.sleep(0.05)
    assert [event.get("delta") for event in channel.sent[1:]] == [" now", " soon"]
    call.hang_up(EndReason.AGENT_HUNG_UP)
    assert channel.kinds()[-1] == "session.closed" and len(channel.sent) == 4


async def test_mute_and_close_are_obeyed_and_acknowledged(parts: tuple[Call, Channel, LiveSession]) -> None:
    call, channel, live = parts
    live.on_channel(channel)
    channel.receive('{"type": "session.input_audio.mute", "event_id": "m"}')
    channel.receive('{"type": "session.input_audio.unmute"}')
    assert call.mutes == [True, False]
    assert channel.sent[1]["client_event_id"] == "m" and "client_event_id" not in channel.sent[2]
    channel.receive("no event")
    assert channel.sent[3]["error"]["code"] == "invalid_json"
    call.audio_s = 12.3456
    channel.receive('{"type": "session.close", "event_id": "c"}')
    assert call.ended == [EndReason.CALLER_HUNG_UP]
    closed = channel.sent[4]
    assert (closed["reason"], closed["client_event_id"]) == ("close_requested", "c")
    assert closed["usage"] == {"seconds": 12.346} and closed["session"] == RESOURCE
    channel.receive('{"type": "session.input_audio.mute"}')
    channel.receive("no event")
    assert len(channel.sent) == 5 and call.mutes == [True, False]  # nothing follows session.closed


async def test_a_word_that_is_almost_heard_costs_no_turn_after_turn_of_the_loop(
    parts: tuple[Call, Channel, LiveSession],
) -> None:
    call, channel, live = parts
    looks: list[float] = []
    look = live._tell_heard

    def counted() -> None:
        looks.append(call.audio_s)
        look()

    live._tell_heard = counted  # type: ignore[method-assign]
    live.on_channel(channel)
    call.tell_word(TimedWord(Speaker.AGENT, "soon", 1.0000001, 1.4))
    await asyncio.sleep(0.05)  # the audio clock stands still
    assert len(looks) <= 4
    call.hang_up(EndReason.CALLER_HUNG_UP)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (EndReason.CALLER_HUNG_UP, "remote_hangup"),
        (EndReason.MEDIA_LOST, "connection_lost"),
        (EndReason.TRUNK_FAILED, "connection_lost"),
        (EndReason.WORKER_LOST, "connection_lost"),
        (EndReason.TOO_LONG, "expired"),
        (EndReason.OPERATOR_HUNG_UP, "close_requested"),
        (EndReason.AGENT_HUNG_UP, "close_requested"),
    ],
)
async def test_every_end_has_a_reason_that_clients_know(
    parts: tuple[Call, Channel, LiveSession], reason: EndReason, told: str
) -> None:
    call, channel, live = parts
    live.on_channel(channel)
    call.hang_up(reason)
    assert channel.sent[-1]["reason"] == told


async def test_a_session_that_is_hung_up_by_request_was_ended_by_its_caller(
    parts: tuple[Call, Channel, LiveSession],
) -> None:
    call, channel, live = parts
    live.on_channel(channel)
    live.hang_up()
    assert call.ended == [EndReason.CALLER_HUNG_UP] and channel.sent[-1]["reason"] == "close_requested"
    assert "client_event_id" not in channel.sent[-1]


async def test_a_client_that_takes_nothing_costs_no_memory(parts: tuple[Call, Channel, LiveSession]) -> None:
    call, channel, live = parts
    for number in range(1_000):
        call.tell_word(TimedWord(Speaker.CALLER, f"w{number}", 0, 0.1))
    live.on_channel(channel)
    assert len(channel.sent) == 1 + module.MAX_WAITING
    channel.bufferedAmount = module.MAX_BUFFERED_BYTES
    call.tell_word(TimedWord(Speaker.CALLER, "lost", 0, 0.1))
    channel.bufferedAmount, channel.readyState = 0, "closed"
    call.tell_word(TimedWord(Speaker.CALLER, "lost", 0, 0.1))
    assert live.num_dropped == 1 and len(channel.sent) == 1 + module.MAX_WAITING
    call.hang_up(EndReason.SHUTTING_DOWN)


async def test_the_time_used_is_told_while_the_call_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USAGE_S", 0.01)
    call, channel = Call(), Channel()
    live = LiveSession(cast(Session, call), RESOURCE)
    live.on_channel(channel)
    for _ in range(500):
        if channel.kinds().count("session.usage.updated") >= 2:
            break
        await asyncio.sleep(0.01)
    assert channel.kinds().count("session.usage.updated") >= 2
    call.hang_up(EndReason.CALLER_HUNG_UP)
    count = len(channel.sent)
    await asyncio.sleep(0.03)
    assert len(channel.sent) == count
