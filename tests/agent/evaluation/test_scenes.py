"""Scenes are drawn by their seed, hold what their rows need, and say what they do."""

import numpy as np
import pytest

from agent.evaluation.rows import EARLY_TURNS, LATE_TURNS, QUOTAS
from agent.evaluation.scenes import ECHO_DB, REAL, SNRS_DB, Family, Scene, make_scene
from agent.evaluation.script import Manner
from agent.evaluation.stimuli import OVER_SOUNDS, line_rms
from model.channel import resample
from model.order_line import Intent, Tone
from model.voices import HELD_OUT_VOICES


def sounds(scene: Scene) -> list[str]:
    return [step.sound for step in scene.steps]


@pytest.mark.parametrize("family", [one for one in Family if one not in REAL])
def test_the_seed_decides_and_the_voice_is_held_out(family: Family) -> None:
    one, same, other = make_scene(family, 3, 0), make_scene(family, 3, 0), make_scene(family, 3, 1)
    assert one.voice in {voice.name for voice in HELD_OUT_VOICES}
    for step, again in zip(one.steps, same.steps, strict=True):
        # A synthesiser's own jitter aside: some of them are never twice the same.
        assert (step.step, step.sound, step.wait_s) == (again.step, again.sound, again.wait_s)
        assert len(step.pcm) == pytest.approx(len(again.pcm), rel=0.02)
    assert any(len(a.pcm) != len(b.pcm) for a, b in zip(one.steps, other.steps, strict=False))
    assert family in QUOTAS


def test_a_floor_scene_mixes_interruptions_with_sounds_that_are_none() -> None:
    scene = make_scene(Family.FLOOR, 1, 0)
    assert {sound: sounds(scene).count(sound) for sound in OVER_SOUNDS} == {
        "backchannel": 2, "cough": 2, "side_talk": 1, "background": 1, "music": 1,
    }  # fmt: skip
    manners = [step.step.manner for step in scene.steps]
    assert manners.count(Manner.CUT_IN) == 3 and manners.count(Manner.OVER) == 7
    for before, after in zip(scene.steps, scene.steps[1:], strict=False):
        assert after.sound == "turn" or before.sound == "turn"  # each sound meets an answer of its own


def test_dialogues_pause_at_unfinished_and_at_finished_points() -> None:
    scenes = [make_scene(Family.DIALOGUE, number, 0) for number in range(3)]
    pauses = [pause for scene in scenes for step in scene.steps for pause in step.pauses]
    complete = [pause for scene in scenes for step in scene.steps for pause in step.complete]
    assert len(pauses) == 9 and complete
    assert all(0.4 <= pause.duration_s <= 1.0 for pause in (*pauses, *complete))
    for scene in scenes:
        for step in scene.steps:
            for pause in (*step.pauses, *step.complete):
                inside = step.pcm[
                    round((pause.start_s + 0.25) * 24_000) : round((pause.end_s - 0.05) * 24_000)
                ]
                assert np.sqrt(np.mean(np.square(inside))) < 0.2 * np.sqrt(np.mean(np.square(step.pcm)))


def test_late_turns_ask_for_what_early_ones_asked_for() -> None:
    requests = [step.step.request for step in make_scene(Family.DIALOGUE, 0, 0).steps]
    intents = [request.intent for request in requests if request is not None]
    asked = {places: [intents[place - 1] for place in places] for places in (EARLY_TURNS, LATE_TURNS)}
    assert asked[LATE_TURNS] == asked[EARLY_TURNS]


def test_noise_lies_as_far_below_the_order_as_the_scene_says() -> None:
    found = set()
    for number in range(8):
        scene = make_scene(Family.ORDERS, number, 0)
        snr_db = scene.condition["snr_db"]
        found.add(snr_db)
        assert (scene.bed is None) == (snr_db == "clean")
        if scene.bed is not None:
            on_line = float(np.sqrt(np.mean(np.square(resample(scene.bed, 24_000, 8_000)))))
            apart_db = 20 * np.log10(line_rms(scene.steps[0].pcm) / on_line)
            assert apart_db == pytest.approx(snr_db, abs=0.3)
    assert found == {"clean", *SNRS_DB}


def test_echo_scenes_take_turns_in_their_return_loss() -> None:
    scenes = [make_scene(Family.ECHO, number, 0) for number in range(2)]
    assert [scene.echo.return_db for scene in scenes if scene.echo] == list(ECHO_DB)


def test_a_pair_of_tones_is_one_speaker_with_one_request() -> None:
    calm, toned = make_scene(Family.TONE, 2, 0), make_scene(Family.TONE, 3, 0)
    (a,), (b,) = calm.steps, toned.steps
    assert a.step.request is not None and b.step.request is not None
    assert calm.voice == toned.voice and a.step.request.text == b.step.request.text
    assert (a.step.request.tone, b.step.request.tone) == (Tone.CALM, Tone.ANGRY)
    tones = [make_scene(Family.TONE, number, 0).condition["tone"] for number in range(6)]
    assert tones == ["calm", "hurried", "calm", "angry", "calm", "whisper"]
    assert len(a.pcm) != len(b.pcm) or not np.allclose(a.pcm, b.pcm)
    assert 20 * np.log10(line_rms(a.pcm) / line_rms(b.pcm)) == pytest.approx(0.0, abs=0.3)


def test_a_number_scene_says_seven_digits() -> None:
    (step,) = make_scene(Family.NUMBERS, 0, 0).steps
    request = step.step.request
    assert request is not None and request.intent is Intent.NUMBER and len(request.number or "") == 7
