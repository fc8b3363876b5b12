"""Rows without calls: sentences told to an engine, the codec's quality, the model's weight and cost."""

from pathlib import Path

import numpy as np
import pytest

from agent.evaluation.judge import Judge
from agent.evaluation.speech_rows import ToldRows, calls_per_core, codec_pesq, draw_lines, own_lines, size_of
from agent.settings import WorkerSettings
from model.engine import BUILTIN, Engine
from tests.agent.evaluation.deaf import DEAF
from tests.agent.evaluation.parties import Manners, Output, Parties


def test_lines_are_drawn_by_the_seed_from_all_that_the_agent_says() -> None:
    lines, again, others = ([line.text for line in draw_lines(60, seed)] for seed in (0, 0, 1))
    assert lines == again and lines != others
    assert any(text.endswith("Is that right?") for text in lines) and len(set(lines)) > 30


class Speaks(Parties):
    """Says the words of what it was told, or always the same."""

    def __init__(self, always: str = "") -> None:
        super().__init__(Manners(greeting="", is_buzz=False), 2)
        self.always, self.spelt = always, dict[int, str]()

    def encode(self, text: str) -> list[int]:
        self.spelt[len(self.spelt)] = text
        return [len(self.spelt) - 1]

    def say(self, slot: int, tokens: object) -> None:
        party = self.parties[slot]
        assert party is not None and isinstance(tokens, list)
        party._say(self.always or self.spelt[tokens[0]])


def test_sentences_count_when_the_judge_hears_them(judge: Judge) -> None:
    engine, num = Speaks(), 2
    assert own_lines(engine, engine, num, 5, judge)["own_lines"].value == 1.0
    deaf = Speaks()
    assert own_lines(deaf, deaf, num, 5, DEAF)["own_lines"].value == 0.0


def test_the_codecs_quality_is_told() -> None:
    found = codec_pesq(Engine.load(BUILTIN, 1).model.codec, 1, 0)["codec_pesq"]
    assert 1.2 < found.value < 4.0 and found.num_eligible == 1


def test_a_models_weight_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "lm.safetensors").write_bytes(bytes(2_000_000))
    (tmp_path / "README.md").write_bytes(bytes(500_000))
    assert size_of(tmp_path)["megabytes"].value == pytest.approx(2.0)


def test_a_core_holds_as_many_calls_as_a_step_leaves_time_for() -> None:
    class Busy(Parties):
        def step(self, pcm: object, active: object) -> Output:
            total = 0.0
            for _ in range(40):
                total += float(np.sort(np.random.default_rng(0).random(20_000))[0])
            zeros = np.zeros((self.num_slots, 1920), np.float32)
            text = np.full(self.num_slots, -1, np.int32)
            return Output(zeros, text, text, np.zeros((self.num_slots, 17), np.int16))

    one, two = (calls_per_core(Busy(Manners(), slots))["calls_per_core"].value for slots in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.5) and 0.1 < one < 80


def test_rows_about_the_model_are_none_of_the_standins() -> None:
    rows = ToldRows(WorkerSettings(engine="standin"), 1, 2, 0, lambda: DEAF)
    assert rows.figures("words") == {} and rows.figures("codec") == {}
    assert list(rows.figures("size")) == ["calls_per_core"]
    assert rows.figures("lines")["own_lines"].num_eligible == 2
