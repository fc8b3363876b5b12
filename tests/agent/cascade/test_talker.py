"""Questions become sentences with sound; a service that fails is apologised for, or stood in for."""

import numpy as np

from agent.cascade.dialogue import SORRY
from agent.cascade.talker import Ask, Kind, Talker
from agent.settings import CascadeSettings
from model.order_line import GREETING, STILL_THERE, Control
from tests.agent.cascade.service import served

NOWHERE = "http://127.0.0.1:9/v1"


def told(talker: Talker, ask: Ask) -> str:
    return " ".join(sentence.spoken.text for sentence in talker.work(ask))


def test_a_call_is_greeted_and_answered_sentence_by_sentence() -> None:
    talker = Talker(CascadeSettings())
    assert list(talker.work(Ask(0, Kind.BEGIN))) == []
    greeting = list(talker.work(Ask(1, Kind.GREET)))
    assert [sentence.spoken.text for sentence in greeting] == ["Off hook coffee.", "What can I get you?"]
    assert all(np.abs(sentence.spoken.pcm).max() > 0.1 for sentence in greeting)
    (answer,) = talker.work(Ask(2, Kind.ANSWER, "where is the shop"))
    assert answer.caller_words == "where is the shop" and answer.number == 2
    goodbye = list(talker.work(Ask(3, Kind.ANSWER, "thank you goodbye")))
    assert [sentence.control for sentence in goodbye] == [Control.NONE, Control.HANG_UP]
    assert told(talker, Ask(4, Kind.STILL_THERE)) == STILL_THERE.text
    assert told(talker, Ask(5, Kind.SAY, "anything at all")) == "anything at all"


def test_services_hear_think_and_speak() -> None:
    with served() as service:
        names = ("llm_url", "stt_url", "tts_url")
        models = {name.replace("url", "model"): "m" for name in names}
        settings = CascadeSettings(**dict.fromkeys(names, service.url), **models)  # type: ignore[arg-type]
        talker = Talker(settings)
        list(talker.work(Ask(0, Kind.BEGIN, "You sell tea.")))
        answer = list(talker.work(Ask(1, Kind.ANSWER, pcm=np.ones(8_000, np.int16))))
    assert [sentence.spoken.text for sentence in answer] == ["Hello.", "What can I get you?"]
    assert answer[0].caller_words == service.words and answer[1].caller_words == ""
    assert len(answer[0].spoken.pcm) == 12_000 and answer[1].spoken.words[-1][0] == "you?"


def test_a_language_model_that_fails_is_apologised_for_and_a_synthesiser_stood_in_for() -> None:
    settings = CascadeSettings(llm_url=NOWHERE, llm_model="m", tts_url=NOWHERE, tts_model="m", timeout_s=0.5)
    talker = Talker(settings)
    list(talker.work(Ask(0, Kind.BEGIN)))
    sentences = list(talker.work(Ask(1, Kind.ANSWER, "hello")))
    assert " ".join(sentence.spoken.text for sentence in sentences) == SORRY.text
    assert all(np.abs(sentence.spoken.pcm).max() > 0.1 for sentence in sentences)
    assert GREETING.text not in told(talker, Ask(2, Kind.GREET))
