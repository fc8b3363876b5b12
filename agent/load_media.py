"""The sound of many calls, by one thread: sent on a fixed schedule, and each packet that comes back noted.

Calls share sockets, as callers behind one carrier do; who sent a packet tells whose it is. Everything is done
for a whole socket at once, in tables with a row for each call: 300 calls are 30,000 packets a second.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.bench_impairment import Impairment, Network
from agent.bench_rtp import PACKET_S, PACKET_SAMPLES, RATE_HZ, decode
from agent.load_sockets import Arrivals, BatchSocket, OutBatch, host_number, host_text
from agent.load_speech import CODEC, Program
from agent.standin import line_hz

GROUP_CALLS = 16  # per socket
NUM_PHASES = 10  # of 20 ms: callers are not in step with each other
PHASE_S = PACKET_S / NUM_PHASES
NUM_LINES = 8  # pitches of the stand-in
NUM_SEQUENCES = 1 << 16
PACKET_BYTES = 12 + PACKET_SAMPLES
SOUND_POWER = 1e-5  # -50 dBFS: what has a pitch worth naming

_PACKET = np.dtype(
    [
        ("version", "u1"),
        ("kind", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("payload", "u1", PACKET_SAMPLES),
    ]
)
_LEVELS = decode(bytes(range(256)), CODEC)  # float32 [256]
_ANGLES = 2 * np.pi * np.outer(np.arange(PACKET_SAMPLES) / RATE_HZ, [line_hz(n) for n in range(NUM_LINES)])
_WAVES = np.concatenate([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)  # [160, 16]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one call sent and heard; tables have a place for each RTP sequence number from the first on."""

    at_s: NDArray[np.float64]  # [P] when the packet came by the monotonic clock; NaN: it never did
    media_s: NDArray[np.float64]  # [P] its RTP timestamp, from the first; NaN as above
    power: NDArray[np.float32]  # [P] its mean square
    line: NDArray[np.int8]  # [P] the stand-in's line modulo 8, by pitch; -1: silence or anything else
    sent_s: NDArray[np.float64]  # [N] when each of ours left
    num_strange: int  # packets that were not 20 ms of PCMU
    num_doubles: int


class Chorus:
    """All programs' packets in one table, so that many calls' next ones are looked up at once."""

    def __init__(self, programs: tuple[Program, ...]) -> None:
        self.programs = programs
        silence = np.full((1, PACKET_SAMPLES), 0xFF, np.uint8)
        self.codes = np.concatenate([silence, *[program.codes for program in programs]])
        self.sizes = np.array([program.num_packets for program in programs])
        self.starts = 1 + np.cumsum(self.sizes) - self.sizes

    def packets(self, program: NDArray[np.intp], index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Packet number `index` [N] of calls with these programs [N]: uint8 [N, 160]."""
        spoken = index - Program.lead_packets()
        places = np.where(spoken < 0, 0, self.starts[program] + spoken % self.sizes[program])
        return self.codes[places]


class Group:
    """A socket and the calls that share it."""

    def __init__(self, host: str, phase: int, chorus: Chorus, num_places: int) -> None:
        """Raises OSError where there is no such address."""
        assert num_places < NUM_SEQUENCES, (
            f"{num_places} packets are more than RTP's sequence numbers tell apart"
        )
        self.phase = phase
        self.socket = BatchSocket(host)
        self.num_foreign = 0  # packets from nobody whom we call
        self._chorus = chorus
        self._out = OutBatch(GROUP_CALLS, PACKET_BYTES)
        self._rows = self._out.packets.view(_PACKET)[:, 0]
        self._rows["version"] = 0x80
        self._is_taken = np.zeros(GROUP_CALLS, bool)
        self._live = np.zeros(0, np.intp)  # rows that talk
        self._program = np.zeros(GROUP_CALLS, np.intp)
        self._num_sent = np.zeros(GROUP_CALLS, np.int64)
        self._sends: list[float] = []  # when this group sent
        self._source = np.zeros(GROUP_CALLS, np.uint64)  # host << 16 | port of each row's far end
        self._first = np.zeros((GROUP_CALLS, 2), np.int64)  # sequence and timestamp, -1: none came
        self._num_matched = np.zeros(GROUP_CALLS, np.int64)
        self._num_strange = np.zeros(GROUP_CALLS, np.int64)
        self._at_s = np.full((GROUP_CALLS, num_places), np.nan)
        self._media_s = np.full((GROUP_CALLS, num_places), np.nan)
        self._power = np.zeros((GROUP_CALLS, num_places), np.float32)
        self._line = np.full((GROUP_CALLS, num_places), -1, np.int8)
        self._networks: dict[int, tuple[Network, Network]] = {}  # to and from the far end
        self._late: list[tuple[float, int, bytes, tuple[str, int]]] = []  # held back by a bad network
        self._num_late = 0

    def reserve(self) -> int | None:
        """A row for a new call; None if there is none."""
        free = np.flatnonzero(~self._is_taken)
        if not len(free):
            return None
        row = int(free[0])
        self._is_taken[row] = True
        self._at_s[row], self._media_s[row], self._power[row], self._line[row] = np.nan, np.nan, 0.0, -1
        self._first[row], self._num_sent[row], self._source[row] = -1, 0, 0
        self._num_matched[row] = self._num_strange[row] = 0
        return row

    def start(
        self,
        row: int,
        program: int,
        remote: tuple[str, int],
        ssrc: int,
        networks: tuple[Network, Network] | None,
    ) -> None:
        """Begin to send a reserved row's sound to `remote`, and to listen to that."""
        self._program[row] = program
        self._rows["ssrc"][row] = ssrc
        self._source[row] = host_number(remote[0]) << 16 | remote[1]
        self._out.address(row, *remote)
        if networks is not None:
            self._networks[row] = networks
        self._set_live([*self._live.tolist(), row])

    def stop(self, row: int) -> Heard | None:
        """End a row's sound; what was heard, None if it never began."""
        heard = self._heard(row) if row in self._live else None
        self._set_live([one for one in self._live.tolist() if one != row])
        self._networks.pop(row, None)
        self._is_taken[row] = False
        self._source[row] = 0
        return heard

    def _heard(self, row: int) -> Heard:
        came = np.flatnonzero(~np.isnan(self._at_s[row]))
        until = int(came[-1]) + 1 if len(came) else 0
        num_sent = int(self._num_sent[row])
        return Heard(
            self._at_s[row, :until].copy(),
            self._media_s[row, :until].copy(),
            self._power[row, :until].copy(),
            self._line[row, :until].copy(),
            np.array(self._sends[len(self._sends) - num_sent :]),
            int(self._num_strange[row]),
            int(self._num_matched[row]) - len(came),
        )

    def _set_live(self, rows: list[int]) -> None:
        """Impaired calls' packets go one by one, all others' together."""
        self._live = np.array(rows, np.intp)
        self._out.choose(np.array([row for row in rows if row not in self._networks], np.intp))

    def send(self, now_s: float) -> None:
        """One packet of each call."""
        rows = self._live
        self._sends.append(now_s)
        if not len(rows):
            return
        index = self._num_sent[rows]
        self._rows["kind"][rows] = np.where(index == 0, 0x80, 0)
        self._rows["sequence"][rows] = index % NUM_SEQUENCES
        self._rows["timestamp"][rows] = index * PACKET_SAMPLES
        self._rows["payload"][rows] = self._chorus.packets(self._program[rows], index)
        self._num_sent[rows] += 1
        self._out.send(self.socket.socket)
        for row, (to_far, _) in self._networks.items():
            self._send_impaired(row, to_far, now_s)

    def _send_impaired(self, row: int, network: Network, now_s: float) -> None:
        due_s = network.delivery_s(now_s)
        if due_s is not None:
            source = int(self._source[row])
            remote = host_text(source >> 16), source & 0xFFFF
            self._num_late += 1
            heapq.heappush(self._late, (due_s, self._num_late, self._out.packets[row].tobytes(), remote))

    def release(self, now_s: float) -> None:
        """Let packets go whose time in a bad network is over."""
        while self._late and self._late[0][0] <= now_s:
            *_, packet, remote = heapq.heappop(self._late)
            try:
                self.socket.socket.sendto(packet, remote)
            except (BlockingIOError, ConnectionError):
                continue  # as lost

    def receive(self) -> None:
        """Note what has come."""
        while (batch := self.socket.read()) is not None:
            self._take(batch)

    def _take(self, batch: Arrivals) -> None:
        packets = np.ascontiguousarray(batch.packets[:, :PACKET_BYTES]).view(_PACKET)[:, 0]
        source = batch.host.astype(np.uint64) << np.uint64(16) | batch.port.astype(np.uint64)
        is_from = source[:, None] == self._source[None, self._live]  # [N, live rows]
        is_known = is_from.any(axis=1)
        self.num_foreign += len(source) - int(is_known.sum())
        is_whole = (batch.size == PACKET_BYTES) & ((packets["kind"] & 0x7F) == 0)
        if not is_known.any():
            return
        rows = self._live[np.argmax(is_from, axis=1)]
        np.add.at(self._num_strange, rows[is_known & ~is_whole], 1)
        chosen, at_s = self._through_networks(np.flatnonzero(is_known & is_whole), rows, batch.at_s)
        if len(chosen):
            self._note(rows[chosen], at_s, packets[chosen])

    def _through_networks(
        self, chosen: NDArray[np.intp], rows: NDArray[np.intp], at_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Which of the chosen packets come through, and when."""
        if not self._networks:
            return chosen, at_s[chosen]
        due: list[tuple[int, float]] = []
        for one in chosen:
            networks = self._networks.get(int(rows[one]))
            when_s = float(at_s[one]) if networks is None else networks[1].delivery_s(float(at_s[one]))
            due += [(int(one), when_s)] if when_s is not None else []
        return np.array([one for one, _ in due], np.intp), np.array([when_s for _, when_s in due])

    def _note(self, rows: NDArray[np.intp], at_s: NDArray[np.float64], packets: NDArray[np.void]) -> None:
        sequence, timestamp = packets["sequence"].astype(np.int64), packets["timestamp"].astype(np.int64)
        for place in np.flatnonzero(self._first[rows, 0] < 0):
            if self._first[rows[place], 0] < 0:  # not set by an earlier packet of this batch
                self._first[rows[place]] = sequence[place], timestamp[place]
        np.add.at(self._num_matched, rows, 1)
        places = (sequence - self._first[rows, 0]) % NUM_SEQUENCES
        fits = places < self._at_s.shape[1]
        fits &= np.isnan(self._at_s[rows, np.where(fits, places, 0)]) | ~fits
        rows, places = rows[fits], places[fits]
        samples = _LEVELS[packets["payload"][fits]]
        power = np.einsum("ij,ij->i", samples, samples) / np.float32(PACKET_SAMPLES)
        media = (timestamp[fits] - self._first[rows, 1] + 2**31) % 2**32 - 2**31
        self._at_s[rows, places] = at_s[fits]
        self._media_s[rows, places] = media / RATE_HZ
        self._power[rows, places] = power
        self._line[rows, places] = lines_of(samples, power)

    def move(self, host: str) -> None:
        """Leave this address for another: what is still sent to the old one is lost."""
        self.receive()
        self.socket.close()
        self.socket = BatchSocket(host)

    def close(self) -> None:
        """Free the port."""
        self.socket.close()


def lines_of(samples: NDArray[np.float32], power: NDArray[np.float32]) -> NDArray[np.int8]:
    """Which of the stand-in's pitches each packet [N, 160] has, 0..7; -1 for silence and for anything else.

    In 20 ms the pitches are whole numbers of cycles apart, so they do not leak into each other; a packet has
    the pitch that holds half of its power.
    """
    found = np.full(len(samples), -1, np.int8)
    loud = np.flatnonzero(power > SOUND_POWER)
    if len(loud):
        waves = np.square(samples[loud] @ _WAVES)
        strength = (waves[:, :NUM_LINES] + waves[:, NUM_LINES:]) * (
            2 / PACKET_SAMPLES**2
        )  # as a sine's power
        best = np.argmax(strength, axis=1)
        share = strength[np.arange(len(loud)), best] / power[loud]
        found[loud] = np.where(share > 0.5, best, -1)
    return found


class MediaBank:
    """Every group of one generator; `turn` is called once for each phase of a packet's time."""

    def __init__(self, programs: tuple[Program, ...], max_call_s: float, host: str = "127.0.0.1") -> None:
        self._host, self._chorus, self._num_places = host, Chorus(programs), round(max_call_s / PACKET_S)
        self._groups: list[Group] = []
        self._places: dict[int, tuple[Group, int]] = {}  # by call

    def reserve(self, call: int) -> int:
        """Room for a call; the port where its sound is to be sent."""
        for group in self._groups:
            if (row := group.reserve()) is not None:
                break
        else:
            group = Group(self._host, len(self._groups) % NUM_PHASES, self._chorus, self._num_places)
            self._groups.append(group)
            row = group.reserve()
            assert row is not None
        self._places[call] = group, row
        return group.socket.port

    def start(
        self,
        call: int,
        program: int,
        remote: tuple[str, int],
        impairment: Impairment | None = None,
    ) -> None:
        """Begin a call's sound, over a bad network each way if there is one."""
        group, row = self._places[call]
        networks = None
        if impairment is not None:
            networks = Network(impairment, 2 * call), Network(impairment, 2 * call + 1)
        group.start(row, program, remote, call + 1, networks)

    def stop(self, call: int) -> Heard | None:
        """End a call's sound and give its room back; what was heard, None if it never began."""
        group, row = self._places.pop(call)
        group.receive()
        return group.stop(row)

    def move(self, host: str) -> None:
        """All calls' sound leaves from, and is wanted at, another address of ours."""
        self._host = host
        for group in self._groups:
            group.move(host)

    def port_of(self, call: int) -> int:
        """Where a call's sound is wanted."""
        return self._places[call][0].socket.port

    def program_of(self, program: int) -> Program:
        """What a caller says."""
        return self._chorus.programs[program]

    def turn(self, phase: int, now_s: float) -> None:
        """Send what this phase's calls have to say, and note what came to a part of the sockets."""
        for number, group in enumerate(self._groups):
            if group.phase == phase:
                group.send(now_s)
            group.release(now_s)
            if (number + phase) % (NUM_PHASES // 2) == 0:
                group.receive()

    @property
    def num_dropped(self) -> int:
        """Packets that we lost ourselves because our buffers were full."""
        return sum(group.socket.num_dropped for group in self._groups)

    def close(self) -> None:
        """Free all ports."""
        for group in self._groups:
            group.close()
