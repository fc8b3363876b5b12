"""External services by HTTP against a real server: the documented shapes, errors that name the setting."""

from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import SecretStr

from agent.cascade.services import Chat, ServiceError, Speech, Transcriber
from tests.agent.cascade.service import KEY, Service, served
from tests.signals import find_tone


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with served() as service:
        yield service


@pytest.fixture
def service(server: Service) -> Service:
    server.asked.clear()
    server.status, server.hang_s = 200, 0.0
    return server


def test_a_chat_answer_comes_in_pieces_and_the_key_is_shown(service: Service) -> None:
    chat = Chat("LLM", service.url, "some-model", SecretStr(KEY), 5.0)
    messages = [{"role": "user", "content": "hi"}]
    assert list(chat.stream(messages)) == service.answers
    (asked,) = service.asked
    assert asked["messages"] == messages and asked["stream"] and asked["model"] == "some-model"
    assert asked["key"] == f"Bearer {KEY}"


def test_an_utterance_is_sent_as_a_file_and_comes_back_as_words(service: Service) -> None:
    words = Transcriber("STT", service.url, "ears", None, 5.0).transcribe(np.ones(8_000, np.int16))
    assert words == service.words
    assert service.asked == [{"model": "ears", "samples": 8_000, "rate_hz": 16_000, "key": ""}]


def test_a_sentence_comes_back_as_sound(service: Service) -> None:
    pcm = Speech("TTS", service.url, "mouth", None, 5.0, "anna").speak("Hello.")
    assert pcm.dtype == np.float32 and len(pcm) == 12_000
    assert find_tone(pcm, 24_000) == pytest.approx(500, abs=5)
    assert service.asked[0]["voice"] == "anna" and service.asked[0]["response_format"] == "pcm"


def test_a_refusal_names_the_setting_and_what_was_said(service: Service) -> None:
    service.status = 404
    with pytest.raises(ServiceError, match=r"OFFHOOK_CASCADE__LLM_URL=http.*404.*no such model.*check the"):
        list(Chat("LLM", service.url, "m", None, 5.0).stream([]))
    with pytest.raises(ServiceError, match="OFFHOOK_CASCADE__TTS_URL"):
        Speech("TTS", service.url, "m", None, 5.0, "").speak("Hello.")


def test_one_that_says_nothing_is_given_up_and_one_that_is_not_there_too(service: Service) -> None:
    service.hang_s = 1.0
    with pytest.raises(ServiceError, match=r"STT.*said nothing in time"):
        Transcriber("STT", service.url, "m", None, 0.2).transcribe(np.ones(10, np.int16))
    with pytest.raises(ServiceError, match=r"LLM.*127\.0\.0\.1:9/v1 failed.*is it running"):
        list(Chat("LLM", "http://127.0.0.1:9/v1", "m", None, 1.0).stream([]))
