"""Where to register next, and when: failover, waiting longer each round, and the way back. No I/O here.

All times are seconds of one monotonic clock, which the caller reads. The library refreshes by itself what is
registered; a refresh that fails comes here like any other failure.
"""

from collections.abc import Callable
from enum import StrEnum

from telephony.trunks import Registration

_UNPROVED = (401, 403, 407)  # our name or secret is wrong there: trying again at once locks accounts


class RegistrationResult(StrEnum):
    """What came of one REGISTER; the label `result` of `offhook_trunk_registrations_total`."""

    OK = "ok"
    REFUSED = "refused"  # the registrar answered, and said no
    UNREACHABLE = "unreachable"  # nobody answered, or a proxy that found nobody


def result_of(code: int) -> RegistrationResult:
    """What a REGISTER's final status means; PJSIP says 408 and 503 for silence and dead connections."""
    if 200 <= code < 300:
        return RegistrationResult.OK
    is_silence = code < 300 or code in (408, 502, 503, 504)
    return RegistrationResult.UNREACHABLE if is_silence else RegistrationResult.REFUSED


class RegistrationCycle:
    """One trunk's registration: which server has it, and which is to be tried.

    `due` names a server; `began` says that a REGISTER is on its way there, and `on_answer` what came of it.
    """

    def __init__(
        self, settings: Registration, num_servers: int, draw: Callable[[], float], now_s: float = 0.0
    ) -> None:
        """`draw` gives a number in [0, 1): waits are between half of what is due and all of it."""
        self._settings, self._num_servers, self._draw = settings, num_servers, draw
        self.server: int | None = None  # that we are registered at
        self._tried: int | None = None  # a REGISTER is on its way there
        self._next: int = 0
        self._next_s: float | None = now_s
        self._num_failures = 0  # since we were registered

    @property
    def is_registered(self) -> bool:
        """Whether some server knows us."""
        return self.server is not None

    def due(self, now_s: float) -> int | None:
        """The server to register at now; None if there is nothing to do yet."""
        is_time = self._next_s is not None and now_s >= self._next_s
        return self._next if is_time and self._tried is None else None

    def began(self, server: int) -> None:
        """A REGISTER has been sent there."""
        self._tried, self._next_s = server, None

    def on_answer(self, server: int, code: int, now_s: float, retry_after_s: int | None = None) -> None:
        """A server's final answer to a REGISTER of ours, asked for here or a refresh by the library."""
        if server == self._tried:
            self._tried = None
        elif server != self.server:
            return  # from a server that we have left
        if 200 <= code < 300:
            self._on_success(server, now_s)
        elif self.server is not None and server != self.server:
            self._wait_for_better(now_s)  # the better one is not back yet; we still have this one
        else:
            self._on_failure(server, code, now_s, retry_after_s)

    def _on_success(self, server: int, now_s: float) -> None:
        self.server, self._num_failures = server, 0
        if server == 0:
            self._next_s = None
        else:
            self._wait_for_better(now_s)

    def _wait_for_better(self, now_s: float) -> None:
        self._next, self._next_s = 0, now_s + self._settings.return_s

    def _on_failure(self, server: int, code: int, now_s: float, retry_after_s: int | None) -> None:
        self.server = None
        self._num_failures += 1
        self._next = (server + 1) % self._num_servers
        wait_s = 0.0
        num_rounds, rest = divmod(self._num_failures, self._num_servers)
        if rest == 0:
            wait_s = self._round_wait_s(num_rounds)
        if code in _UNPROVED:
            wait_s = max(wait_s, self._round_wait_s(num_rounds + 1), 30.0)
        if self._num_servers == 1 and retry_after_s is not None:
            wait_s = max(wait_s, float(min(retry_after_s, 3600)))
        self._next_s = now_s + wait_s

    def _round_wait_s(self, num_rounds: int) -> float:
        doubled = self._settings.retry_s * 2.0 ** min(num_rounds - 1, 20)
        return min(doubled, float(self._settings.max_retry_s)) * (0.5 + 0.5 * self._draw())
