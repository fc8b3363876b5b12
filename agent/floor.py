"""Who holds the floor, measured from both channels; it measures and never decides: the model alone yields.

No I/O, no clock: times are seconds of the call's audio clock. Definitions, the same as `offhook eval`'s,
which knows its callers' ends and needs no tail to find them:

- response gap: the agent's first sustained start (over 1 s long, or the call's last) after the caller's turn
  ended, minus that end; signed, once per turn; up to 200 ms early counts, and nothing after 5 s does.
- early start: the agent starts a sustained segment more than 200 ms before the caller's segment ends.
- barge-in stop: from a caller's onset while the agent speaks to the agent's last voiced hop before 600 ms of
  its silence; void when the agent merely paused; failed after 2 s.
- backchannel: a caller's segment of at most 1 s through which the agent goes on speaking.
- overlap: both speak.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

from agent.energy_gate import Edge, EnergyGate, GateConfig, GateEvent, Pcm

KEPT_SEGMENTS = 64  # per side; a segment needs its neighbours of the last seconds only
# A caller has any level. Ends in 20 calls were early by 4 ms at the median with this tail, by 44 without.
CALLER_TAIL_DB = 30.0


class FloorEventKind(StrEnum):
    """What was measured; `value_s` of an event holds the time in the middle column."""

    RESPONSE = "response"  # the gap
    EARLY_START = "early_start"  # how long before the caller's end, as far as known
    BARGE_IN_STOP = "barge_in_stop"  # onset to stop
    BARGE_IN_FAILED = "barge_in_failed"  # 0
    BACKCHANNEL = "backchannel"  # its length
    OVERLAP = "overlap"  # its length


@dataclass(frozen=True, slots=True)
class FloorEvent:
    """One measurement, placed where it began on the call's audio clock."""

    kind: FloorEventKind
    at_s: float
    value_s: float


class Holder(StrEnum):
    """Who speaks now, as far as the gates know."""

    NOBODY = "nobody"
    CALLER = "caller"
    AGENT = "agent"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class FloorConfig:
    """Constants of the definitions above."""

    talk_pause_s: float = 0.5
    turn_pause_s: float = 1.2  # a caller who goes on within it had not ended
    sustained_s: float = 1.0
    premature_s: float = 0.2
    answer_within_s: float = 5.0
    stop_silence_s: float = 0.6
    yield_within_s: float = 2.0
    backchannel_s: float = 1.0


@dataclass(slots=True)
class _Speech:
    """One confirmed segment; `end_s` is None while it lasts."""

    start_s: float
    end_s: float | None = None
    is_answered: bool = False

    def covers(self, at_s: float) -> bool:
        return self.start_s < at_s and (self.end_s is None or at_s < self.end_s)


@dataclass(slots=True)
class _Trial:
    """A caller's onset while the agent spoke, until it is judged."""

    onset_s: float
    caller: _Speech
    agent: _Speech  # the segment in which the agent may stop
    has_paused: bool = False


@dataclass(slots=True)
class _Talk:
    """The agent's newest talk, until it is known whether it is sustained."""

    start_s: float
    last: _Speech


class FloorTracker:
    """Feed both channels of the same time; get what became known."""

    def __init__(self, config: FloorConfig | None = None, gate: GateConfig | None = None) -> None:
        self._config = config or FloorConfig()
        self.caller_gate = EnergyGate(replace(gate or GateConfig(), tail_db=CALLER_TAIL_DB))
        self.agent_gate = EnergyGate(gate)
        self._caller: deque[_Speech] = deque(maxlen=KEPT_SEGMENTS)
        self._agent: deque[_Speech] = deque(maxlen=KEPT_SEGMENTS)
        self._talk: _Talk | None = None
        self._trial: _Trial | None = None

    @property
    def holder(self) -> Holder:
        """Who speaks now."""
        speaking = (self.caller_gate.is_speaking, self.agent_gate.is_speaking)
        return {
            (False, False): Holder.NOBODY,
            (True, False): Holder.CALLER,
            (False, True): Holder.AGENT,
            (True, True): Holder.BOTH,
        }[speaking]

    def push(self, caller: Pcm, agent: Pcm) -> list[FloorEvent]:
        """Take float32 [T] of each side, heard and played in the same ticks."""
        assert len(caller) == len(agent), (len(caller), len(agent))
        events: list[FloorEvent] = []
        # While the agent speaks its echo may come back at the level of a tail.
        self.caller_gate.may_trail = not self.agent_gate.is_speaking
        heard = [(event, True) for event in self.caller_gate.push(caller)]
        said = [(event, False) for event in self.agent_gate.push(agent)]
        for event, is_caller in sorted(heard + said, key=lambda pair: pair[0].known_at_s):
            events += self._edge(event, is_caller)
        now_s = self.agent_gate.now_s
        return events + self._judge_talk(now_s) + self._judge_trial(now_s)

    def finish(self) -> list[FloorEvent]:
        """The call is over: what is still open is closed and judged."""
        events: list[FloorEvent] = []
        for gate, is_caller in ((self.caller_gate, True), (self.agent_gate, False)):
            for event in gate.finish():
                events += self._edge(event, is_caller)
        if self._talk is not None:  # the call's last words count, however short
            events += self._answer(self._talk)
        return events + self._judge_trial(self.agent_gate.now_s + self._config.yield_within_s)

    def _edge(self, event: GateEvent, is_caller: bool) -> list[FloorEvent]:
        side = self._caller if is_caller else self._agent
        if event.edge is Edge.ONSET:
            speech = _Speech(event.at_s)
            began = self._caller_began(speech) if is_caller else self._agent_began(speech)
            side.append(speech)
            return began
        side[-1].end_s = event.at_s
        events = _overlaps(side[-1], self._agent if is_caller else self._caller)
        return events if is_caller else events + self._judge_talk(event.known_at_s)

    def _caller_began(self, speech: _Speech) -> list[FloorEvent]:
        agent = next((one for one in reversed(self._agent) if one.covers(speech.start_s)), None)
        if agent is not None and self._trial is None:
            self._trial = _Trial(speech.start_s, speech, agent)
        talk, turn = self._talk, self._caller[-1] if self._caller else None
        if talk is None or turn is None or turn.end_s is None:
            return []
        if speech.start_s - turn.end_s >= self._config.turn_pause_s:
            return self._answer(talk)  # short, but all that was said until the caller's next turn
        if talk.last.end_s is not None:
            self._talk = None  # the caller had only paused, and it was a backchannel
        return []

    def _agent_began(self, speech: _Speech) -> list[FloorEvent]:
        before = self._agent[-1].end_s if self._agent else None
        silence_s = speech.start_s - before if before is not None else float("inf")
        if silence_s >= self._config.talk_pause_s:
            self._talk = _Talk(speech.start_s, speech)
        elif self._talk is not None:
            self._talk.last = speech
        trial = self._trial
        if trial is not None and trial.agent.end_s is not None and silence_s < self._config.stop_silence_s:
            trial.agent, trial.has_paused = speech, True
        return []

    def _judge_talk(self, now_s: float) -> list[FloorEvent]:
        talk = self._talk
        if talk is None:
            return []
        reached_s = talk.last.end_s if talk.last.end_s is not None else now_s
        return self._answer(talk) if reached_s - talk.start_s > self._config.sustained_s else []

    def _answer(self, talk: _Talk) -> list[FloorEvent]:
        """The agent holds a sustained talk: which of the caller's turns does it answer, and how late?"""
        self._talk = None
        turn = next((one for one in reversed(self._caller) if one.start_s < talk.start_s), None)
        if turn is None or turn.is_answered:
            return []  # a greeting, or the same answer going on after a pause
        for one in self._caller:
            if one.start_s <= turn.start_s:
                one.is_answered = True
        if turn.end_s is None or turn.end_s - talk.start_s > self._config.premature_s:
            early_s = (turn.end_s or self.caller_gate.now_s) - talk.start_s
            return [FloorEvent(FloorEventKind.EARLY_START, talk.start_s, early_s)]
        if any(one.covers(turn.end_s) for one in self._agent if one.start_s < talk.start_s):
            return []  # the caller ended while the agent spoke on: a backchannel, no turn to answer
        gap_s = talk.start_s - turn.end_s
        if gap_s > self._config.answer_within_s:
            return []
        return [FloorEvent(FloorEventKind.RESPONSE, turn.end_s, gap_s)]

    def _judge_trial(self, now_s: float) -> list[FloorEvent]:
        trial, config = self._trial, self._config
        if trial is None:
            return []
        stop_s = trial.agent.end_s
        reached_s = stop_s if stop_s is not None else now_s - self.agent_gate.config.split_s
        if reached_s - trial.onset_s > config.yield_within_s:
            self._trial = None
            return [self._refused(trial)]
        # An onset after the stop is known only once confirmed: wait that much longer than the silence.
        if stop_s is None or now_s - stop_s < config.stop_silence_s + self.agent_gate.config.confirm_s:
            return []
        self._trial = None
        if trial.has_paused:
            return []  # neither a stop nor a refusal can be read from it
        return [FloorEvent(FloorEventKind.BARGE_IN_STOP, trial.onset_s, stop_s - trial.onset_s)]

    def _refused(self, trial: _Trial) -> FloorEvent:
        """The agent spoke on for 2 s: right after a backchannel, wrong after anything longer."""
        end_s = trial.caller.end_s
        if end_s is not None and end_s - trial.onset_s <= self._config.backchannel_s:
            return FloorEvent(FloorEventKind.BACKCHANNEL, trial.onset_s, end_s - trial.onset_s)
        return FloorEvent(FloorEventKind.BARGE_IN_FAILED, trial.onset_s, 0.0)


def _overlaps(closed: _Speech, others: deque[_Speech]) -> list[FloorEvent]:
    """Overlaps of a segment that just closed with closed ones of the other side: each pair is seen once."""
    assert closed.end_s is not None
    events = []
    for other in others:
        if other.end_s is not None:
            start_s, end_s = max(closed.start_s, other.start_s), min(closed.end_s, other.end_s)
            if end_s > start_s:
                events.append(FloorEvent(FloorEventKind.OVERLAP, start_s, end_s - start_s))
    return events
