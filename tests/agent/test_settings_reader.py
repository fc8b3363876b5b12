"""Settings from variables and a file: values, precedence, and refusals that say what to do."""

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.settings import Settings, WorkerSettings
from agent.settings_reader import load_settings, setting_names


def test_without_any_variable_everything_stays_on_this_machine() -> None:
    settings = load_settings({"PATH": "/usr/bin"})
    assert settings == Settings()
    assert (settings.sip.bind_address, settings.sip.port) == ("127.0.0.1", 5060)
    assert (settings.sip.rtp_port_min, settings.sip.rtp_port_max) == (20_000, 29_999)
    assert (settings.http.bind_address, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.redis_url is None and settings.recording.folder is None and not settings.log.pii
    assert settings.worker.model_dir.parts[-2:] == ("model", "builtin")


def test_variables_reach_every_depth_and_lists_are_written_with_commas() -> None:
    settings = load_settings(
        {
            "OFFHOOK_REDIS_URL": "redis://:hush@127.0.0.1:6379/2",
            "OFFHOOK_SIP__CODECS": "PCMU, PCMA",
            "OFFHOOK_SIP__JITTER__MAX_MS": "100",
            "OFFHOOK_WORKER__SLOTS": "4",
            "OFFHOOK_WORKER__ADDRESSES": "tcp:gpu-1:7400,unix:/run/w.sock",
            "OFFHOOK_WORKER__SECRET": "0123456789abcdef",
            "OFFHOOK_LOG__PII": "true",
            "OFFHOOK_RECORDING__FOLDER": "/tmp/calls",
        }
    )
    assert settings.sip.codecs == ("PCMU", "PCMA")
    assert settings.sip.jitter.max_ms == 100
    assert settings.worker.slots == 4
    assert settings.worker.addresses == ("tcp:gpu-1:7400", "unix:/run/w.sock")
    assert settings.log.pii is True
    assert settings.recording.folder == Path("/tmp/calls")
    assert "hush" not in repr(settings) and "0123456789abcdef" not in repr(settings)


def test_an_empty_variable_is_unset_as_compose_files_write_it() -> None:
    assert load_settings({"OFFHOOK_REDIS_URL": "", "OFFHOOK_SIP__PORT": ""}) == Settings()


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "offhook.toml"
    file.write_text('drain_timeout_s = 5\n[sip]\nport = 5070\nmax_calls = 8\ncodecs = ["PCMA"]\n')
    settings = load_settings({"OFFHOOK_CONFIG": str(file), "OFFHOOK_SIP__PORT": "5080"})
    assert (settings.sip.port, settings.sip.max_calls, settings.sip.codecs) == (5080, 8, ("PCMA",))
    assert settings.drain_timeout_s == 5


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"OFFHOOK_SIP__PROT": "5080"},
            "OFFHOOK_SIP__PROT is not a setting; did you mean OFFHOOK_SIP__PORT?",
        ),
        ({"OFFHOOK_SIP_PORT": "5080"}, "did you mean OFFHOOK_SIP__PORT?"),
        ({"OFFHOOK_DRAIN_TRANSFER_TARGET": "desk"}, "drain_transfer_target='desk' is no SIP URI"),
        ({"OFFHOOK_HTTP__PORT": "eighty"}, "OFFHOOK_HTTP__PORT: .*valid integer"),
        ({"OFFHOOK_HTTP__PORT": "70000"}, "OFFHOOK_HTTP__PORT: .*65535"),
        (
            {"OFFHOOK_HTTP__BIND_ADDRESS": "0.0.0.0"},
            "OFFHOOK_HTTP: bind_address=0.0.0.0.*allowed_peers is empty",
        ),
        ({"OFFHOOK_HTTP__BIND_ADDRESS": "localhost"}, "is no IP address"),
        ({"OFFHOOK_HTTP__ALLOWED_PEERS": "192.0.2.7/24"}, "192.0.2.7/24.*host bits"),
        ({"OFFHOOK_HTTP__ADMIN_KEY": "x" * 31}, "OFFHOOK_HTTP: admin_key is too short.*openssl rand"),
        ({"OFFHOOK_HTTP__ORIGINS": "calls.example"}, "origins has 'calls.example'; write https://"),
        ({"OFFHOOK_HTTP__ORIGINS": "https://calls.example/x"}, "without a path"),
        ({"OFFHOOK_HTTP__METRICS_PORT": "70000"}, "OFFHOOK_HTTP__METRICS_PORT: .*65535"),
        (
            {"OFFHOOK_SIP__BIND_ADDRESS": "0.0.0.0"},
            "OFFHOOK_SIP: bind_address=0.0.0.0.*allowed_peers is empty",
        ),
        ({"OFFHOOK_REDIS_URL": "http://x"}, "must begin with redis://"),
        ({"OFFHOOK_WORKER__ADDRESSES": "gpu-1:7400"}, "gpu-1:7400.*tcp:host:7400"),
        ({"OFFHOOK_WORKER__ADDRESSES": "tcp:gpu-1:7400"}, "needs a secret"),
        ({"OFFHOOK_WORKER__SECRET": "short"}, "openssl rand"),
        ({"OFFHOOK_WORKER__COUNT": "0"}, "leaves no worker"),
        (
            {"OFFHOOK_WORKER__SLOTS": "many"},
            "OFFHOOK_WORKER__SLOTS: 'many' is no number of calls",
        ),
        ({"OFFHOOK_WORKER__SLOTS": "257"}, "OFFHOOK_WORKER__SLOTS: .*1 to 256"),
        ({"OFFHOOK_WORKER__ENGINE": "magic"}, "OFFHOOK_WORKER__ENGINE: .*'standin' or 'cascade'"),
        ({"OFFHOOK_CASCADE__LLM_URL": "http://127.0.0.1:1/v1"}, "llm_url and llm_model go together"),
        ({"OFFHOOK_CASCADE__TTS_URL": "here"}, "OFFHOOK_CASCADE__TTS_URL: .*pattern"),
        ({"OFFHOOK_CALL__TRANSFER_TARGET": "the desk"}, "no SIP URI"),
        ({"OFFHOOK_AGENT__DELEGATE_URL": "the shop"}, "no HTTP address"),
        ({"OFFHOOK_AGENT__ROLE": "x", "OFFHOOK_AGENT__ROLE_FILE": "y"}, "OFFHOOK_AGENT: role and role_file"),
        ({"OFFHOOK_AGENT__ROLE": "x" * 16385}, "role is longer than 16384 bytes"),
        ({"OFFHOOK_AGENT__VOICE": "x" * 129}, "voice is no voice's name"),
        ({"OFFHOOK_AGENT__TEXT_BIAS": "okay"}, "text_bias has 'okay'; write word=number"),
        ({"OFFHOOK_AGENT__TEXT_BIAS": "okay=nan"}, "text_bias has 'okay=nan'"),
        ({"OFFHOOK_AGENT__TEXT_TEMPERATURE": "-1"}, "OFFHOOK_AGENT__TEXT_TEMPERATURE: .*greater than"),
        ({"OFFHOOK_CONFIG": "/nonexistent.toml"}, "/nonexistent.toml cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_with_the_variable_and_a_remedy(
    variables: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_settings(variables)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sip]\nprot = 5080\n", "sip.prot is not a setting; did you mean sip.port?"),
        ("redis = 'x'\n", "redis is not a setting; did you mean redis_url?"),
        ("[sip\n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "offhook.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_settings({"OFFHOOK_CONFIG": str(file)})


def test_a_secret_is_never_in_an_error() -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings({"OFFHOOK_REDIS_URL": "http://:hush@x", "OFFHOOK_WORKER__SECRET": "tooshort"})
    assert "hush" not in str(refused.value) and "tooshort" not in str(refused.value)


def test_every_setting_has_one_variable() -> None:
    names = dict(setting_names())
    assert names["OFFHOOK_SIP__JITTER__MIN_MS"] == "sip.jitter.min_ms"
    assert names["OFFHOOK_WORKER__MODEL_DIR"] == "worker.model_dir"
    assert len(names) == len(set(names.values())) > 30


def test_a_worker_has_as_many_slots_as_fit_unless_a_number_is_set() -> None:
    for unset in ({}, {"OFFHOOK_WORKER__SLOTS": "auto"}):
        assert load_settings(unset).worker.slots == "auto"
    assert load_settings({"OFFHOOK_WORKER__SLOTS": "3"}).worker.slots == 3
    fixed, measured = WorkerSettings(slots=3), WorkerSettings()
    assert fixed.ready_timeout_s == 60 and measured.ready_timeout_s > 300
