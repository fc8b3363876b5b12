"""`offhook check`: every obstacle is found and comes with its remedy; nothing is found where nothing is."""

import argparse
import asyncio
import importlib.util
import resource
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent import check
from agent.calibration import Calibration, CalibrationFile
from agent.cascade import voice_activity
from agent.check import describe, look, run
from agent.engines import EngineChoice, EngineFactory
from agent.findings import Finding, Level
from agent.outbound import OutboundSettings
from agent.redis_server import private_redis
from agent.settings import (
    AgentSettings,
    CallSettings,
    HttpSettings,
    RecordingSettings,
    Settings,
    WorkerSettings,
)
from agent.settings_reader import load_settings
from telephony.settings import SipSettings
from tests.model.oracle import reference_lm
from tests.model.published import stacked, voice_file, write_folder, write_voices
from tests.model.tiny import CODEC_CONFIG, WIDE_LM_CONFIG

NO_ARGUMENTS = argparse.Namespace(settings=False)


def quiet() -> Settings:
    """Settings under which this machine can serve without a model, on any free ports."""
    worker = WorkerSettings(engine="standin")
    return Settings(sip=SipSettings(port=0), http=HttpSettings(port=0), worker=worker)


def with_(**changes: object) -> Settings:
    return quiet().model_copy(update=changes)


def obstacles(settings: Settings) -> list[Finding]:
    return [finding for finding in look(settings) if finding.level is Level.PROBLEM]


def test_a_machine_that_is_set_up_can_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert obstacles(quiet()) == []
    assert run(NO_ARGUMENTS, quiet()) == 0
    assert "`offhook serve` can start" in capsys.readouterr().out


def test_whatever_is_not_ok_has_a_remedy() -> None:
    for finding in look(quiet()):
        assert bool(finding.remedy) is (finding.level is not Level.OK), finding


def test_keys_that_cannot_be_read_or_kept_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("spoilt")
    (found,) = obstacles(with_(state=tmp_path))
    assert "keys.json" in found.what and "OFFHOOK_STATE" in found.remedy
    (tmp_path / "file").touch()
    (found,) = obstacles(with_(state=tmp_path / "file" / "below"))
    assert "cannot be written" in found.what and "OFFHOOK_STATE" in found.remedy


def test_a_cascade_without_its_packages_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_(worker=WorkerSettings(engine="cascade"))
    assert obstacles(settings) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    voice_activity._session.cache_clear()
    (problem,) = obstacles(settings)
    assert "deploy/setup.sh cascade" in problem.what


def test_a_missing_model_is_a_problem(tmp_path: Path) -> None:
    (found,) = obstacles(with_(worker=WorkerSettings(model_dir=tmp_path / "none")))
    assert "none" in found.what and "OFFHOOK_WORKER__MODEL_DIR" in found.remedy


def test_a_model_that_does_not_load_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (found,) = obstacles(with_(worker=WorkerSettings(model_dir=tmp_path)))
    assert "does not load: " in found.what and "OFFHOOK_WORKER__MODEL_DIR" in found.remedy


def test_a_worker_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    addresses = (f"unix:{tmp_path}/w.sock",)
    worker = WorkerSettings(engine="standin", addresses=addresses)
    (found,) = obstacles(with_(worker=worker))
    assert "w.sock" in found.what and "OFFHOOK_WORKER__ADDRESSES" in found.remedy
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/w.sock")
        listener.listen()
        assert obstacles(with_(worker=worker)) == []


def test_recording_settings_that_do_nothing_and_calls_recorded_without_a_word_are_noted(
    tmp_path: Path,
) -> None:
    told = [finding.what for finding in check._recordings(with_(recording=RecordingSettings(keep_days=30)))]
    assert "without a folder recording's keep_days do nothing" in told
    word = "calls are recorded without a word on consent"
    for about, is_noted in ({}, True), ({"consent": True}, False), ({"announcement": "Recorded."}, False):
        settings = with_(recording=RecordingSettings.model_validate({"folder": tmp_path, **about}))
        assert (word in [finding.what for finding in check._recordings(settings)]) is is_noted


def test_a_recordings_folder_that_cannot_be_written_is_a_problem() -> None:
    folder = Path("/proc/offhook-recordings")
    (found,) = obstacles(with_(recording=RecordingSettings(folder=folder)))
    assert str(folder) in found.what and "OFFHOOK_RECORDING__FOLDER" in found.remedy


def test_recording_without_consent_is_noted_and_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    notes = [
        f for f in look(with_(recording=RecordingSettings(folder=folder))) if "word on consent" in f.what
    ]
    assert [note.level for note in notes] == [Level.NOTE]
    assert not folder.exists()


def test_too_few_open_files_are_a_problem() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        (found,) = obstacles(quiet())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "512" in found.what and "ulimit" in found.remedy


def test_missing_parts_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "offhook_pjsua2", None)  # importing it now fails
    monkeypatch.setattr(check, "find_redis_server", lambda: None)
    found = obstacles(quiet())
    assert ["SIP library" in found[0].what, "redis-server" in found[1].what] == [True, True]
    assert all("make setup" in each.remedy for each in found)


def test_a_silent_redis_is_noted_and_a_wrong_url_is_a_problem() -> None:
    silent = [f for f in look(load_settings(_redis("unix:///nonexistent.sock"))) if "Redis" in f.what]
    assert [f.level for f in silent] == [Level.NOTE]
    wrong = [f for f in obstacles(load_settings(_redis("redis://x:notaport"))) if "redis" in f.what]
    assert "OFFHOOK_REDIS_URL" in wrong[0].remedy


@pytest.mark.redis
async def test_a_redis_that_answers_is_ok() -> None:
    async with private_redis() as server:
        found = await asyncio.to_thread(lambda: list(look(load_settings(_redis(server.url)))))
    assert Finding(Level.OK, "the configured Redis answers") in found


def _redis(url: str) -> dict[str, str]:
    return {"OFFHOOK_REDIS_URL": url, "OFFHOOK_WORKER__ENGINE": "standin", "OFFHOOK_HTTP__PORT": "0"}


def test_transfer_target_is_told() -> None:
    settings = with_(call=CallSettings(transfer_target="sip:desk@192.0.2.7"))
    assert any("sip:desk@192.0.2.7" in f.what and f.level is Level.OK for f in look(settings))


def test_where_a_drain_puts_callers_is_told_and_whether_the_rules_let_them_go() -> None:
    drains = {"drain_transfer_target": "sip:desk@192.0.2.7"}
    few = [f for f in look(with_(**drains)) if "handed" in f.what]
    assert [f.level for f in few] == [Level.OK, Level.NOTE] and "sip:desk@192.0.2.7" in few[0].what
    assert "OFFHOOK_OUTBOUND__CALLS_PER_MINUTE=" in few[1].remedy
    many = with_(**drains, outbound=OutboundSettings(calls_per_minute=6000))
    assert [f.level for f in look(many) if "handed" in f.what] == [Level.OK]


def test_whom_the_model_asks_is_told() -> None:
    settings = with_(agent=AgentSettings(delegate_url="http://192.0.2.7/ask"))
    assert any("http://192.0.2.7/ask" in f.what and f.level is Level.OK for f in look(settings))


def test_settings_are_listed_with_their_source_and_without_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "offhook.toml"
    file.write_text("[sip]\nport = 5070\n")
    environ = {"OFFHOOK_CONFIG": str(file), "OFFHOOK_WORKER__SECRET": "s" * 16, "OFFHOOK_SIP__CODECS": "PCMA"}
    lines = list(describe(load_settings(environ), environ))
    assert f"OFFHOOK_SIP__PORT=5070  # {file}" in lines
    assert "OFFHOOK_SIP__CODECS=PCMA  # variable" in lines
    assert "OFFHOOK_WORKER__SECRET=**********  # variable" in lines
    assert "OFFHOOK_HTTP__PORT=8080  # default" in lines
    assert run(argparse.Namespace(settings=True), Settings()) == 0
    assert "OFFHOOK_SIP__PORT=5060  # default" in capsys.readouterr().out


def test_an_agent_that_the_model_cannot_be_is_a_problem() -> None:
    (voice,) = obstacles(with_(agent=AgentSettings(voice="anna")))
    assert "no voice 'anna': it has tone" in voice.what and "OFFHOOK_AGENT__VOICE" in voice.remedy
    (role,) = obstacles(with_(agent=AgentSettings(role="You sell coffee.")))
    assert "takes no role" in role.what
    (word,) = obstacles(with_(agent=AgentSettings(banned=("two words",))))
    assert "OFFHOOK_AGENT__BANNED" in word.what
    assert obstacles(with_(agent=AgentSettings(voice="tone", banned=("word",)))) == []
    (found,) = [f for f in check._agent(with_(agent=AgentSettings(voice="anna")), (), takes_role=True)]
    assert "it has one voice" in found.what


def test_a_prompt_that_leaves_no_room_for_the_call_is_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = replace(WIDE_LM_CONFIG, card=2048)  # as many codes as the prompt is made of
    codec = replace(CODEC_CONFIG, quantizer=replace(CODEC_CONFIG.quantizer, bins=2048))
    weights = stacked(reference_lm(config).state_dict())
    write_folder(folder, config, weights, codec, model_type="personaplex")
    write_voices(folder / "voices.tgz", {"NATF0.pt": voice_file()})
    settings = with_(
        worker=WorkerSettings(model_dir=folder, slots=1),
        agent=AgentSettings(voice="NATF0", role="hello " * 2000),
    )
    (found,) = obstacles(settings)
    assert "every call would be refused: the prompt takes" in found.what


def test_what_was_measured_is_told_and_more_is_noted(tmp_path: Path) -> None:
    factory = EngineFactory(EngineChoice("standin", Path("none"), "cpu", 1))
    cached = with_(cache=tmp_path)

    def told(slots: int | str) -> tuple[Level, str]:
        worker = WorkerSettings.model_validate({"engine": "standin", "slots": slots})
        finding = next(iter(check._capacity(cached.model_copy(update={"worker": worker}), factory)))
        return finding.level, finding.what

    assert told("auto")[0] is Level.OK and "at the first start" in told("auto")[1]
    CalibrationFile(tmp_path, factory.key()).write(Calibration(90, 0.05, ()))
    assert told("auto") == (Level.OK, "90 calls a worker were measured to fit (p99 50.0 ms a step)")
    assert told(91)[0] is Level.NOTE and "91 are configured" in told(91)[1]
    assert "90 calls, but the gateway takes 64" in [f.what for f in check._capacity(cached, factory)][-1]


def test_traces_are_noted_and_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    def traced(folder: Path) -> Settings:
        return with_(worker=WorkerSettings(engine="standin", trace_folder=folder))

    assert any(f.level is Level.NOTE and "sound and words" in f.what for f in look(traced(tmp_path / "x")))
    (found,) = obstacles(traced(Path("/proc/traces")))
    assert "OFFHOOK_WORKER__TRACE_FOLDER" in found.remedy
