"""Other people's folders: what is read, and what is refused with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from agent.energy_gate import Segment
from agent.errors import AgentError
from agent.evaluation.benchmark_folders import FdbTask, read_fdb, read_uro
from tests.agent.evaluation.benchmark_scenes import fdb_item, span, uro_set
from tests.agent.evaluation.scenes import RATE_HZ, channel


def test_items_are_told_by_what_marks_them(tmp_path: Path) -> None:
    user, model = [(1.0, 3.0)], [(3.5, 6.0)]
    fdb_item(tmp_path, "candor_turn_taking", "3", user, model, ("turn_taking.json", span(3.0, 3.4)))
    mark = ("metadata.json", {"timestamps": [2.0, 3.0], "context_text": "", "current_turn_text": ""})
    fdb_item(tmp_path, "talking_to_other", "7", user, model, mark)
    listener = fdb_item(tmp_path, "icc_backchannel", "0", user, model)
    words = {"text": "mm", "chunks": [{"text": "mm", "timestamp": [3.5, None]}]}
    (listener / "output.json").write_text(json.dumps(words))
    (tmp_path / "icc_gt_distribution.json").write_text(json.dumps({"0": [0.5, 0.5]}))
    turn, listens, other = sorted(read_fdb(tmp_path), key=lambda item: item.folder)
    assert (turn.task, listens.task, other.task) == (FdbTask.TURN, FdbTask.BACKCHANNEL, FdbTask.OVERLAP)
    assert turn.mark == Segment(3.0, 3.4) and other.mark == Segment(2.0, 3.0) and listens.mark is None
    assert turn.user[0].start_s == pytest.approx(1.0, abs=0.021) and turn.duration_s == 8.0
    assert turn.model[0].end_s == pytest.approx(6.0, abs=0.03)
    assert turn.words is None and listens.words is not None and listens.words[0].end_s is None
    assert listens.people == [0.5, 0.5] and turn.people is None


def test_of_two_channels_the_model_is_right_and_ends_with_the_user(tmp_path: Path) -> None:
    item = fdb_item(tmp_path, "x", "1", [(1.0, 3.0)], [], ("turn_taking.json", span(3.0, 3.4)))
    both = [channel(spans, 12.0) for spans in ([(1.0, 3.0)], [(3.5, 5.0), (9.0, 10.0)])]
    soundfile.write(item / "output.wav", np.stack(both, 1), RATE_HZ)
    (found,) = read_fdb(tmp_path)
    assert len(found.model) == 1 and found.model[0].start_s == pytest.approx(3.5, abs=0.021)
    assert found.duration_s == 8.0


def test_what_is_no_item_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"no input\.wav"):
        read_fdb(tmp_path)
    item = fdb_item(tmp_path, "weather", "1", [(1.0, 2.0)], [])
    with pytest.raises(AgentError, match="none of pause"):
        read_fdb(tmp_path)
    (item / "metadata.json").write_text('{"timestamps": [2.0, 3.0]}')
    with pytest.raises(AgentError, match=r"no task of v1\.5"):
        read_fdb(tmp_path)
    for broken in ("{", "[]", '[{"timestamp": [1.0]}]', "3"):
        (item / "pause.json").write_text(broken)
        with pytest.raises(AgentError, match=r"pause\.json"):
            read_fdb(tmp_path)
    (item / "output.json").write_text("{}")
    (item / "pause.json").write_text(json.dumps(span(1.2, 1.8)))
    with pytest.raises(AgentError, match="no timed words"):
        read_fdb(tmp_path)
    (item / "output.wav").unlink()
    with pytest.raises(AgentError, match="offhook talk"):
        read_fdb(tmp_path)


def test_uro_sets(tmp_path: Path) -> None:
    uro_set(tmp_path, "repeat_test", [("a b", "a b", "a c")])
    (found,) = read_uro(tmp_path)
    assert found.is_repeat and (found.asked, found.written, found.heard) == (["a b"], ["a b"], ["a c"])
    (tmp_path / "repeat_test" / "pred_text.jsonl").write_text("")
    with pytest.raises(AgentError, match="1, 0, 1 texts"):
        read_uro(tmp_path)
    (tmp_path / "repeat_test" / "asr_text.jsonl").write_text('{"0001": "skipped one"}')
    with pytest.raises(AgentError, match="no numbered list"):
        read_uro(tmp_path)
    with pytest.raises(AgentError, match="recogniser first"):
        read_uro(tmp_path / "nowhere")
