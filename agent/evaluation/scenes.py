"""Scenes: what a caller does in one call, drawn from a seed, and which figures its trials serve.

A scene is data. Steps that want the floor are turns; sounds that do not (a backchannel, a cough, a voice or
music in the room) are said over the agent's speech. Both stand in one tape, so that yielding and going on are
measured in the same calls.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from agent.energy_gate import Pcm, Segment
from agent.evaluation.real_callers import RealCallers
from agent.evaluation.script import PAUSE_S, WAIT_S, Manner, SpokenStep, Step, speak_step
from agent.evaluation.stimuli import OVER_SOUNDS, at_level, draw_room, line_rms, make_sound, noise_bed
from model.conditions import NUM_ROOMS
from model.echo import DELAY_MS, Echo
from model.noise import SoundPool
from model.order import Order
from model.order_line import Intent, Request, Tone, draw_request
from model.rooms import pooled, reverberate
from model.training.bank import insert_pause
from model.voices import HELD_OUT_VOICES, Voice, draw_voice, synthesize
from model.voices_styles import Style

LEVEL_DBFS = (-30.0, -20.0)
SNRS_DB = (24.0, 18.0, 12.0, 6.0)
ECHO_DB = (-20.0, -12.0)
TONES = (Tone.HURRIED, Tone.ANGRY, Tone.WHISPER)  # beside calm
BED_S = 8.0  # of noise, then from its beginning


class Family(StrEnum):
    """Scenes of one kind; what `--rows` chooses."""

    DIALOGUE = "dialogue"  # ten turns and more: gaps, answers, pauses, later turns, the caller's transcript
    FLOOR = "floor"  # spoken into, with and without wanting the floor
    ECHO = "echo"  # the agent's own voice comes back
    ORDERS = "orders"  # one order a call, clean and in noise
    NUMBERS = "numbers"  # one seven-digit number a call
    TONE = "tone"  # the same words, calm and otherwise
    REAL_ORDERS = "real_orders"  # recordings
    REAL_NUMBERS = "real_numbers"


@dataclass(frozen=True, slots=True)
class Scene:
    """One call's script and conditions."""

    family: Family
    number: int
    voice: str
    steps: tuple[SpokenStep, ...]
    bed: Pcm | None = None  # noise under the whole call, float32 [T], repeated
    echo: Echo | None = None
    condition: dict[str, str | float] = field(default_factory=dict)  # what is told apart in the figures


@dataclass(frozen=True, slots=True)
class Speaking:
    """One caller's way of speaking."""

    voice: Voice
    rate: float
    pitch: float
    level_dbfs: float
    rng: random.Random
    room: int | None = None
    tone: Tone | None = None  # None: as the synthesiser says it

    def say(self, request: Request, manner: Manner = Manner.REPLY, *, pause: bool = False) -> SpokenStep:
        """A turn in this voice."""
        style = Style(self.tone.value) if self.tone is not None else None
        spoken = speak_step(
            Step(request, manner, pause), self.voice, self.rng,
            rate=self.rate, pitch=self.pitch, level_dbfs=self.level_dbfs, style=style,
        )  # fmt: skip
        return replace(spoken, pcm=self.in_room(spoken.pcm))

    def say_with_complete_pause(self, request: Request) -> SpokenStep:
        """A turn with a pause where it might have ended, if it has such a place."""
        places = request.complete_words()
        if not places:
            return self.say(request)
        said = synthesize(request.text, self.voice, rate=self.rate, pitch=self.pitch)
        after, pause_s = self.rng.choice(places), self.rng.uniform(*PAUSE_S)
        at_s = said.words[after - 1].end_s
        said = insert_pause(said, after, pause_s)
        pause = Segment(at_s, at_s + pause_s)
        wait_s = self.rng.uniform(*WAIT_S[Manner.REPLY])
        start_s, end_s = said.words[0].start_s, said.words[-1].end_s
        pcm = self.in_room(said.pcm)
        return SpokenStep(Step(request), pcm, start_s, end_s, (), wait_s, complete=(pause,))

    def in_room(self, pcm: Pcm) -> Pcm:
        """As the microphone gets it, at the caller's level on the line; same length, nothing delayed."""
        heard = pcm if self.room is None else reverberate(pcm, pooled(self.room)[1])
        return at_level(heard, self.level_dbfs)


def draw_speaking(family: Family, number: int, seed: int) -> tuple[Speaking, np.random.Generator]:
    """A held-out synthetic voice and its manner, and the draws that go on from there."""
    rng = random.Random(f"{seed}/{family.value}/{number}")
    draws = np.random.default_rng([seed, list(Family).index(family), number])
    voice = draw_voice(draws, HELD_OUT_VOICES)
    rate, pitch = float(draws.uniform(0.9, 1.15)), float(draws.uniform(0.9, 1.15))
    level_dbfs, room = float(draws.uniform(*LEVEL_DBFS)), draw_room(draws)
    return Speaking(voice, rate, pitch, level_dbfs, rng, room), draws


def make_scene(family: Family, number: int, seed: int, callers: RealCallers | None = None) -> Scene:
    """Scene `number` of a family, spoken: up to a second of CPU.

    The real families need `callers`; where there are some, other people in the room are recorded ones, too.
    """
    if family in REAL:
        assert callers is not None, family
        return (real_order if family is Family.REAL_ORDERS else real_number)(number, seed, callers)
    if family is Family.FLOOR and callers is not None:
        return floor(number, seed, callers.pool())
    return _MAKERS[family](number, seed)


def _ask(rng: random.Random, intent: Intent, *, pause: bool = False, order: Order | None = None) -> Request:
    """A request in wordings that are held out; with `pause` one that has an unfinished point."""
    request = draw_request(rng, intent, held_out=True, order=order)
    while pause and not request.incomplete_words():
        request = draw_request(rng, intent, held_out=True, order=order)
    return request


def dialogue(number: int, seed: int) -> Scene:
    """Fourteen turns of every kind, each answer heard to its end; pauses at unfinished and finished points.

    Turns 8 to 10 ask for the same as turns 1 to 3: what differs is how long the call has gone on.
    """
    speaking, _draws = draw_speaking(Family.DIALOGUE, number, seed)
    rng = speaking.rng
    places = (Intent.HOURS, Intent.WHERE)
    ordered, again = (_ask(rng, Intent.ORDER, pause=True) for _ in range(2))
    steps = [
        speaking.say(ordered, pause=True),
        speaking.say(_ask(rng, Intent.CHANGE, order=ordered.order)),
        speaking.say(_ask(rng, Intent.YES)),
        speaking.say(_ask(rng, Intent.NUMBER, pause=True), pause=True),
        speaking.say(_ask(rng, rng.choice((Intent.YES, Intent.NO)))),
        speaking.say(_ask(rng, rng.choice(places))),
        speaking.say(_ask(rng, rng.choice((Intent.REPEAT, Intent.OTHER, Intent.UNCLEAR)))),
        speaking.say(again, pause=True),
        speaking.say(_ask(rng, Intent.CHANGE, order=again.order)),
        speaking.say(_ask(rng, Intent.YES)),
        speaking.say_with_complete_pause(_ask(rng, Intent.ORDER)),
        speaking.say(_ask(rng, rng.choice((Intent.NO, Intent.CANCEL)))),
        speaking.say(_ask(rng, rng.choice((Intent.PERSON, Intent.STATUS, *places)))),
        speaking.say(_ask(rng, Intent.GOODBYE)),
    ]
    return Scene(Family.DIALOGUE, number, speaking.voice.name, tuple(steps))


def floor(number: int, seed: int, pool: SoundPool | None = None) -> Scene:
    """Ten questions with long answers; into each answer falls an interruption or a sound that is none."""
    speaking, draws = draw_speaking(Family.FLOOR, number, seed)
    rng = speaking.rng
    sounds = [*OVER_SOUNDS, *OVER_SOUNDS[:2], "turn", "turn", "turn"]
    rng.shuffle(sounds)
    steps = [speaking.say(_long_question(rng))]
    for sound in sounds:
        if sound == "turn":
            steps.append(speaking.say(_long_question(rng), Manner.CUT_IN))
        else:
            steps += [over(sound, speaking, draws, pool), speaking.say(_long_question(rng))]
    return Scene(Family.FLOOR, number, speaking.voice.name, tuple(steps))


def over(
    sound: str, speaking: Speaking, draws: np.random.Generator, pool: SoundPool | None = None
) -> SpokenStep:
    """A sound said over the agent's speech."""
    pcm, start_s, end_s = make_sound(sound, speaking.voice, speaking.level_dbfs, draws, pool)
    wait_s = speaking.rng.uniform(*WAIT_S[Manner.OVER])
    return SpokenStep(Step(None, Manner.OVER), pcm, start_s, end_s, (), wait_s, sound)


def _long_question(rng: random.Random) -> Request:
    """A question whose answer takes more than three seconds."""
    return _ask(rng, rng.choice((Intent.HOURS, Intent.WHERE)))


def echo(number: int, seed: int) -> Scene:
    """Eight questions over a speaker-phone: the agent hears itself."""
    speaking, draws = draw_speaking(Family.ECHO, number, seed)
    return_db = ECHO_DB[number % len(ECHO_DB)]
    steps = tuple(speaking.say(_long_question(speaking.rng)) for _ in range(8))
    room = speaking.room if speaking.room is not None else NUM_ROOMS
    path = Echo(float(draws.uniform(*DELAY_MS)), return_db, room)
    return Scene(Family.ECHO, number, speaking.voice.name, steps, echo=path, condition={"echo_db": return_db})


def orders(number: int, seed: int) -> Scene:
    """One order; every second call clean, the others at one of four noise levels."""
    speaking, draws = draw_speaking(Family.ORDERS, number, seed)
    step = speaking.say(_ask(speaking.rng, Intent.ORDER))
    return in_noise(Scene(Family.ORDERS, number, speaking.voice.name, (step,)), draws)


def in_noise(scene: Scene, draws: np.random.Generator, pool: SoundPool | None = None) -> Scene:
    """The scene as its number's noise level has it: half of them clean, the others at one of four levels."""
    if scene.number % 2 == 0:
        return replace(scene, condition={**scene.condition, "snr_db": "clean"})
    snr_db = SNRS_DB[scene.number // 2 % len(SNRS_DB)]
    level_dbfs = 20 * math.log10(max(line_rms(scene.steps[0].pcm), 1e-5)) - snr_db
    bed = noise_bed(BED_S, level_dbfs, draws, pool)
    return replace(scene, bed=bed, condition={**scene.condition, "snr_db": snr_db})


def numbers(number: int, seed: int) -> Scene:
    """One telephone number."""
    speaking, _draws = draw_speaking(Family.NUMBERS, number, seed)
    step = speaking.say(_ask(speaking.rng, Intent.NUMBER))
    return Scene(Family.NUMBERS, number, speaking.voice.name, (step,))


def tone(number: int, seed: int) -> Scene:
    """One request whose words tell nothing of the caller's tone: every second call calm, the next one not.

    Both of a pair are one speaker with one request; what differs is how it is said.
    """
    speaking, _draws = draw_speaking(Family.TONE, number // 2, seed)
    request = _ask(
        speaking.rng, speaking.rng.choice((Intent.ORDER, Intent.NUMBER, Intent.HOURS, Intent.WHERE))
    )
    toned = TONES[number // 2 % len(TONES)] if number % 2 else Tone.CALM
    step = replace(speaking, tone=toned).say(replace(request, tone=toned))
    return Scene(Family.TONE, number, speaking.voice.name, (step,), condition={"tone": toned.value})


def real_order(number: int, seed: int, callers: RealCallers) -> Scene:
    """One recorded order: each clip is called clean, then at one of the noise levels."""
    speaking, draws = draw_speaking(Family.REAL_ORDERS, number, seed)
    clip, step = callers.order(number // 2, draws, speaking.level_dbfs)
    scene = Scene(Family.REAL_ORDERS, number, clip.speaker, (step,), condition={"clip": clip.name})
    return in_noise(scene, draws, callers.pool())


def real_number(number: int, seed: int, callers: RealCallers) -> Scene:
    """One telephone number of a recorded speaker's digits."""
    speaking, draws = draw_speaking(Family.REAL_NUMBERS, number, seed)
    speaker, step = callers.number(number, draws, speaking.level_dbfs)
    return Scene(Family.REAL_NUMBERS, number, speaker, (step,), condition={"speaker": speaker})


_MAKERS: dict[Family, Callable[[int, int], Scene]] = {
    Family.DIALOGUE: dialogue,
    Family.FLOOR: floor,
    Family.ECHO: echo,
    Family.ORDERS: orders,
    Family.NUMBERS: numbers,
    Family.TONE: tone,
}
REAL = (Family.REAL_ORDERS, Family.REAL_NUMBERS)
