"""A call's life with a fake call, fake slots, and everything given back at its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import structlog
from numpy.typing import NDArray

from agent import metrics
from agent import session as module
from agent.clock import ManualClock
from agent.consent import ConsentRules
from agent.errors import EndReason, NoFreeSlot
from agent.hold_music import ComfortTone
from agent.machine_detection import MachineDetector
from agent.outbound import OutboundRefused, Purpose, Refusal, Route, Wish
from agent.outbound_ledger import Grant
from agent.playout import Pcm
from agent.recording import Recorder
from agent.session import Session
from agent.session_parts import Parts
from agent.settings import AgentSettings, CallSettings
from agent.slot import PromptRefused, SlotFault, WorkerLost
from agent.store import SessionRecord
from agent.transcript import TimedWord
from agent.transfer import TransferOrder
from agent.transfer_settings import TransferSettings
from telephony.endpoint import FRAME_SAMPLES, EndpointEventKind, MediaEndpoint
from tests.fakes import (
    DELEGATE,
    HANG_UP,
    NOBODY,
    TRANSFER,
    Answer,
    FakeEndpoint,
    FakeSlot,
    FakeTokens,
    settle,
)

TARGET = "sip:desk@192.0.2.7"
SIP = {"direction": "inbound", "transport": "sip"}
SPEECH = np.asarray(0.2 * np.sin(2 * np.pi * 300 * np.arange(FRAME_SAMPLES) / 24_000), np.float32)


class Records:
    """Keeps every state that was noted."""

    def __init__(self) -> None:
        self.saved: list[SessionRecord] = []

    def save(self, record: SessionRecord) -> None:
        self.saved.append(record)


class FakeDesk:
    """Transfers, allowed or not, with a target who answers or does not."""

    def __init__(self) -> None:
        self.settings = TransferSettings()
        self.music: Pcm | None = None
        self.refusal: Refusal | None = None
        self.outcome: asyncio.Future[FakeEndpoint] = asyncio.get_running_loop().create_future()
        self.allowed: list[TransferOrder] = []
        self.settled: list[float] = []
        self.spoken: list[str] = []
        self.joined: list[tuple[object, object]] = []
        self.max_s = 0.4
        self.on_speak: Callable[[], object] = lambda: None
        self.on_join: Callable[[], object] = lambda: None

    async def allow(self, order: TransferOrder) -> Grant:
        if self.refusal is not None:
            raise OutboundRefused(self.refusal)
        self.allowed.append(order)
        wish = Wish(Purpose.TRANSFER, order.to)
        return Grant("g", wish, Route(order.to, "", ""), self.max_s, 0)

    async def settle(self, grant: Grant, used_s: float) -> None:
        self.settled.append(used_s)

    async def consult(self, grant: Grant, summary: str) -> MediaEndpoint:
        async with asyncio.timeout(self.settings.answer_timeout_s):
            return await self.outcome

    async def speak(self, target: MediaEndpoint, summary: str) -> None:
        self.spoken.append(summary)
        self.on_speak()

    async def join(self, caller: MediaEndpoint, target: MediaEndpoint) -> None:
        self.joined.append((caller, target))
        self.on_join()


class Scene:
    """A session in progress."""

    def __init__(self, answer: Callable[[int, Pcm], Answer | None], **limits: object) -> None:
        self.clock = ManualClock()
        self.endpoint = FakeEndpoint(self.clock)
        self.slot = FakeSlot(self.clock, answer)
        self.records = Records()
        self.spare: list[FakeSlot] = []  # what reclaim gives, in order
        self.reclaimed: list[tuple[NDArray[np.int16], Pcm]] = []
        self.limits = CallSettings.model_validate(limits)
        self.recorder: Recorder | None = None
        self.consent = ConsentRules()
        self.desk = FakeDesk()
        self.detector: MachineDetector | None = None
        self.hangs_up_on_machines = False
        self.greeting = ""
        self.agent = AgentSettings()
        self.prompt_refusal: PromptRefused | None = None
        self.latest: Session | None = None
        self.num_let_go = 0

    def session(self) -> Session:
        record = SessionRecord("abc", "gw", "inbound", "confirmed", 1, caller=self.endpoint.remote)
        parts = Parts(
            FakeTokens(),
            self.limits,
            self.records,
            self._reclaim,
            self.clock,
            self.recorder,
            has_consent=True,
            agent=self.agent.model_copy(update={"greeting": self.greeting}),
            consent=self.consent,
            desk=self.desk,
            detector=self.detector,
            hangs_up_on_machines=self.hangs_up_on_machines,
            caller_hash="0123456789abcdef",
            trunk="carrier",
            let_go=self._let_go,
        )
        self.latest = Session(self.endpoint, self.slot, record, parts)
        return self.latest

    def _let_go(self) -> None:
        self.num_let_go += 1

    async def frames(self, count: int, caller: Pcm | None = None) -> None:
        for _ in range(count):
            self.endpoint.frame(caller)
            await settle()

    async def _reclaim(self, history: NDArray[np.int16], caller_pcm: Pcm) -> FakeSlot:
        self.reclaimed.append((history, caller_pcm))
        if self.prompt_refusal is not None:
            raise self.prompt_refusal
        if not self.spare:
            raise NoFreeSlot("none")
        return self.spare.pop(0)


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[asyncio.Task[EndReason]]:
    """The session as a task; whatever the test does, all is given back afterwards."""
    session = scene.session()
    before = metrics.REGISTRY.get_sample_value("offhook_calls_active", SIP)
    task = asyncio.create_task(session.run())
    await settle()
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert scene.slot.num_releases >= 1
    assert metrics.REGISTRY.get_sample_value("offhook_calls_active", SIP) == before


async def end_of(task: asyncio.Task[EndReason]) -> EndReason:
    return await asyncio.wait_for(asyncio.shield(task), 5)


def counted(reason: EndReason) -> float:
    labels = {**SIP, "result": reason.value}
    return metrics.REGISTRY.get_sample_value("offhook_calls_total", labels) or 0.0


def silent(number: int, pcm: Pcm) -> Answer:
    return Answer()


async def test_the_caller_hangs_up() -> None:
    scene, before = Scene(silent), counted(EndReason.CALLER_HUNG_UP)
    async with running(scene) as task:
        await scene.frames(3)
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        assert await end_of(task) is EndReason.CALLER_HUNG_UP
    assert counted(EndReason.CALLER_HUNG_UP) == before + 1
    last = scene.records.saved[-1]
    assert (last.state, last.end_reason) == ("disconnected", EndReason.CALLER_HUNG_UP)
    assert last.ended_at_ms is not None and last.codec == "PCMU/8000"


async def test_a_failing_trunk_is_the_trunks_fault() -> None:
    scene = Scene(silent)
    async with running(scene) as task:
        scene.endpoint.happen(EndpointEventKind.ENDED, code=408)
        assert await end_of(task) is EndReason.TRUNK_FAILED


async def test_the_models_goodbye_is_heard_before_the_bye() -> None:
    def goodbye(number: int, pcm: Pcm) -> Answer:
        return Answer(SPEECH if number < 12 else None, text=HANG_UP if number == 4 else 3)

    scene = Scene(goodbye)
    async with running(scene) as task:
        await scene.frames(13)
        assert scene.endpoint.hung_up is None
        await scene.frames(8)
        assert await end_of(task) is EndReason.AGENT_HUNG_UP
    assert scene.endpoint.hung_up == (200, "")
    assert np.count_nonzero(np.abs(scene.endpoint.heard_by_caller) > 0.01) > 11 * FRAME_SAMPLES * 0.9


async def test_a_transfer_without_a_target_makes_the_model_say_that_nobody_is_free() -> None:
    scene = Scene(lambda number, pcm: Answer(text=TRANSFER if number == 2 else 3))
    async with running(scene):
        await scene.frames(5)
        assert scene.slot.forced == [NOBODY]
        assert scene.endpoint.referred_to == []


async def test_what_the_model_passes_on_is_shown_and_answered_by_the_operator() -> None:
    said = {2: Answer(text=3, caller_text=13), 6: Answer(text=DELEGATE)}
    scene = Scene(lambda number, pcm: said.get(number, Answer()))
    async with running(scene):
        await scene.frames(8)
        assert scene.latest is not None and scene.latest.record.delegated == "latte"
        shown = scene.latest.record.public(show_pii=False)["delegated"]
        assert shown == "***" and scene.slot.said == []
        assert await scene.latest.say("hello")
        await settle()
        assert scene.latest.record.delegated is None and scene.slot.said == [[12]]


async def test_nobody_answers_what_the_model_passes_on() -> None:
    scene = Scene(lambda number, pcm: Answer(text=DELEGATE if number == 2 else 3))
    scene.agent = AgentSettings(delegate_timeout_s=0.03, delegate_fallback="hello latte")
    async with running(scene):
        await scene.frames(4)
        await asyncio.sleep(0.1)
        assert scene.slot.said == [[12, 13]] and scene.slot.forced == []


async def test_a_transfer_refers_the_caller_and_ends_our_part() -> None:
    scene = Scene(lambda number, pcm: Answer(text=TRANSFER if number == 2 else 3), transfer_target=TARGET)
    async with running(scene) as task:
        await scene.frames(16)
        assert scene.endpoint.referred_to == [TARGET]
        assert [order.trunk for order in scene.desk.allowed] == ["carrier"], "the caller's own"
        scene.endpoint.happen(EndpointEventKind.TRANSFER, code=100)
        await settle()
        assert not task.done()
        scene.endpoint.happen(EndpointEventKind.TRANSFER, code=200)
        assert await end_of(task) is EndReason.TRANSFERRED
    assert scene.slot.forced == []


async def test_a_refused_transfer_goes_back_to_the_model() -> None:
    said = {2: TRANSFER}
    scene = Scene(lambda number, pcm: Answer(SPEECH, text=said.get(number, 3)), transfer_target=TARGET)
    scene.slot = FakeSlot(scene.clock, lambda n, pcm: Answer(SPEECH if n > 16 else None, text=said.get(n, 3)))
    async with running(scene):
        await scene.frames(16)
        assert scene.endpoint.referred_to == [TARGET]
        played = len(scene.endpoint.heard_by_caller)
        await scene.frames(4)
        # The model keeps quiet meanwhile; what is heard is the beep for whoever waits.
        assert np.abs(scene.endpoint.heard_by_caller[played:]).max() <= ComfortTone.LEVEL
        scene.endpoint.happen(EndpointEventKind.TRANSFER, code=603)
        await scene.frames(4)
        assert scene.slot.forced == [NOBODY]
        assert scene.endpoint.heard_by_caller[-FRAME_SAMPLES:].any()


async def test_hold_and_digits() -> None:
    scene = Scene(lambda number, pcm: Answer(SPEECH))
    with structlog.testing.capture_logs() as logs:
        async with running(scene):
            scene.endpoint.happen(EndpointEventKind.HELD)
            scene.endpoint.happen(EndpointEventKind.DTMF, digit="5")
            await settle()
            await scene.frames(4, SPEECH)
            assert not scene.endpoint.heard_by_caller.any() and not np.any(scene.slot.heard)
            scene.endpoint.happen(EndpointEventKind.RESUMED)
            await settle()
            await scene.frames(2, SPEECH)
            assert np.any(scene.slot.heard[-1])
    (digit,) = [entry for entry in logs if entry["event"] == "dtmf"]
    assert digit["pii_digit"] == "5" and "digit" not in digit


async def test_an_engine_that_keeps_failing_is_the_models_fault() -> None:
    scene = Scene(silent)
    scene.spare = [FakeSlot(scene.clock, silent) for _ in range(2)]
    slots = [scene.slot, *scene.spare]
    async with running(scene) as task:
        for slot in slots:
            await scene.frames(1)
            slot.lose(SlotFault("not finite"))
            await settle()
        assert await end_of(task) is EndReason.MODEL_FAILED
    assert [slot.num_releases for slot in slots] == [1, 1, 1]


async def test_limits_of_length_and_of_silence_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_S", 0.001)
    scene = Scene(silent, max_s=60, media_timeout_s=600)
    async with running(scene) as task:
        scene.clock.advance(61)
        assert await end_of(task) is EndReason.TOO_LONG
    scene = Scene(silent, media_timeout_s=20)
    async with running(scene) as task:
        scene.clock.advance(19)
        scene.endpoint.figures = replace(scene.endpoint.figures, rx_packets=1)
        await asyncio.sleep(0.02)
        scene.clock.advance(19)
        await asyncio.sleep(0.02)
        assert not task.done()
        scene.clock.advance(2)
        assert await end_of(task) is EndReason.MEDIA_LOST


async def test_our_own_fault_ends_this_call_only_and_frees_everything() -> None:
    def broken(number: int, pcm: Pcm) -> Answer:
        raise ZeroDivisionError

    scene = Scene(broken)
    with structlog.testing.capture_logs() as logs:
        async with running(scene) as task:
            scene.endpoint.frame()
            assert await end_of(task) is EndReason.INTERNAL_ERROR
    assert "session_failed" in [entry["event"] for entry in logs]
    assert scene.endpoint.hung_up is not None
    assert scene.records.saved[-1].end_reason is EndReason.INTERNAL_ERROR


async def test_a_cancelled_session_frees_everything_too() -> None:
    scene = Scene(silent)
    async with running(scene) as task:
        await scene.frames(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert scene.endpoint.hung_up is not None
    assert scene.records.saved[-1].end_reason is EndReason.SHUTTING_DOWN


async def test_whoever_listens_is_told_each_word_and_where_the_call_is() -> None:
    said = {3: Answer(SPEECH, text=12), 5: Answer(text=10, caller_text=13), 6: Answer(text=11)}
    scene = Scene(lambda number, pcm: said.get(number, Answer()))
    async with running(scene) as task:
        assert scene.latest is not None
        heard: list[TimedWord] = []
        scene.latest.listen(heard.append)
        await scene.frames(14)
        assert [(word.speaker.value, word.text) for word in heard] == [
            ("agent", "hello"),
            ("caller", "latte"),
            ("agent", "goodbye"),
        ]
        live = scene.latest.live()
        assert (live.holder, live.num_turns, live.last_gap_s, live.recording_id) == ("nobody", 0, None, None)
        scene.endpoint.happen(EndpointEventKind.HELD)
        await settle()
        assert scene.latest.live().is_held
        scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
        await end_of(task)


async def test_lines_of_the_dialogue_are_told_without_their_words_in_the_clear() -> None:
    said = {3: Answer(text=12), 5: Answer(text=10, caller_text=13), 6: Answer(text=11), 32: Answer(text=12)}
    scene = Scene(lambda number, pcm: said.get(number, Answer()))
    with structlog.testing.capture_logs() as logs:
        async with running(scene) as task:
            await scene.frames(45)
            scene.endpoint.happen(EndpointEventKind.ENDED, code=200)
            await end_of(task)
    lines = [entry for entry in logs if entry["event"] == "said"]
    assert [(line["speaker"], line["pii_text"]) for line in lines] == [
        ("caller", "latte"),
        ("agent", "hello goodbye"),
        ("agent", "hello"),
    ]


async def test_the_agent_says_what_it_is_told_and_keeps_silent_for_whole_frames() -> None:
    scene = Scene(silent)
    async with running(scene):
        assert scene.latest is not None
        assert await scene.latest.say("hello żółty latte") and await scene.latest.silence(1.0)
        assert scene.slot.said == [[12, 13]] and scene.slot.silences == [13]
        with pytest.raises(ValueError, match="nothing"):
            await scene.latest.say("?!")
        with pytest.raises(ValueError, match="2048 fit"):
            await scene.latest.say("hello " * 3000)


async def test_a_configured_greeting_is_said_first_and_not_again_after_a_recovery() -> None:
    scene = Scene(lambda number, pcm: Answer(text=12 if number == 1 else 3))
    scene.greeting = "hello latte"
    second = FakeSlot(scene.clock, silent, "w1")
    scene.spare = [second]
    with structlog.testing.capture_logs() as logs:
        async with running(scene):
            assert scene.slot.said == [[12, 13]]
            await scene.frames(4)
            scene.slot.lose(WorkerLost("worker w0 died"))
            await settle()
            await scene.frames(1)
    assert second.said == []
    (lost,) = [entry for entry in logs if entry["event"] == "sentence_lost"]
    assert lost["num_tokens_left"] == 1


async def test_a_muted_caller_is_silence_to_the_model_and_the_recording(tmp_path: Path) -> None:
    scene = Scene(silent)
    scene.recorder = Recorder(tmp_path, "abc", "wav")
    ends: list[EndReason] = []
    async with running(scene) as task:
        assert scene.latest is not None
        scene.latest.listen_end(ends.append)
        await scene.frames(2, SPEECH)
        scene.latest.mute_caller(True)
        await scene.frames(2, SPEECH)
        scene.latest.mute_caller(False)
        await scene.frames(2, SPEECH)
        scene.latest.hang_up(EndReason.OPERATOR_HUNG_UP)
        scene.latest.hang_up(EndReason.TOO_LONG)
        assert await end_of(task) is EndReason.OPERATOR_HUNG_UP
    assert ends == [EndReason.OPERATOR_HUNG_UP]
    assert [bool(pcm.any()) for pcm in scene.slot.heard] == [True, True, False, False, True, True]
    (path,) = await asyncio.to_thread(lambda: list(tmp_path.glob("*.wav")))
    sound, _ = soundfile.read(path, dtype="float32")
    quiet = np.abs(sound[2 * FRAME_SAMPLES : 3 * FRAME_SAMPLES, 0]).max()
    assert quiet < 0.001 < np.abs(sound[:FRAME_SAMPLES, 0]).max()


async def test_every_listener_hears_every_word_and_the_end_whatever_it_is() -> None:
    scene = Scene(lambda number, pcm: Answer(text=10 if number == 0 else 3))
    words: list[str] = []
    ends: list[EndReason] = []
    async with running(scene) as task:
        assert scene.latest is not None
        for _ in range(2):
            scene.latest.listen(lambda word: words.append(word.text))
        scene.latest.listen_end(ends.append)
        await scene.frames(6)
        assert words == ["good", "good"] and scene.latest.audio_s > 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert ends == [EndReason.SHUTTING_DOWN]
