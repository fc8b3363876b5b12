"""The library's accounts of every trunk: one for its calls, one that registers. Sip thread only.

They are apart so that a registration can move from server to server, and calls' settings can change, without
touching each other. An account that is no longer wanted stays until its last call is over.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import offhook_pjsua2 as pj
import structlog

from telephony.errors import TelephonyError
from telephony.registration import RegistrationCycle, RegistrationResult, result_of
from telephony.settings import SipSettings
from telephony.sip_gate import set_networks
from telephony.trunks import PeerMap, Trunk

log = structlog.get_logger()

REFRESH_BEFORE_S = 40  # longer than a transaction takes to fail: we move on while the old binding still lives
FORBIDDEN = 403
MAX_ACCOUNTS = 256  # PJSUA_MAX_ACC; one is the default's, and one more would end the program
SETTLE_S = 2.0  # after which a binding is renewed that an unregistration elsewhere may have removed
SRTP_USE = {
    "off": pj.PJMEDIA_SRTP_DISABLED,
    "optional": pj.PJMEDIA_SRTP_OPTIONAL,
    "required": pj.PJMEDIA_SRTP_MANDATORY,
}
SRTP_KEYING = {"sdes": pj.PJMEDIA_SRTP_KEYING_SDES, "dtls": pj.PJMEDIA_SRTP_KEYING_DTLS_SRTP}
PRACK_USE = {
    "off": pj.PJSUA_100REL_NOT_USED,
    "optional": pj.PJSUA_100REL_OPTIONAL,
    "required": pj.PJSUA_100REL_MANDATORY,
}
TIMER_USE = {
    "off": pj.PJSUA_SIP_TIMER_INACTIVE,
    "accept": pj.PJSUA_SIP_TIMER_OPTIONAL,
    "ask": pj.PJSUA_SIP_TIMER_ALWAYS,
    "require": pj.PJSUA_SIP_TIMER_REQUIRED,
}

OnInvite = Callable[["CallAccount", int, Any], None]
OnRegistered = Callable[[str, bool, RegistrationResult], None]


class CallAccount(pj.Account):  # type: ignore[misc]  # the extension has no types
    """What calls of one trunk belong to; `trunk` None: peers that are in no trunk."""

    def __init__(self, name: str, trunk: Trunk | None, on_invite: OnInvite) -> None:
        super().__init__()
        self.name, self.trunk = name, trunk
        self.dtmf_ways = frozenset(trunk.dtmf if trunk is not None else ("rfc4733", "info"))
        self._on_invite = on_invite

    def uri(self, target: str) -> str:
        """The address as it is called here: by the trunk's transport, unless it names one."""
        trunk = self.trunk
        if trunk is None or trunk.transport == "udp" or ";transport=" in target.lower():
            return target
        return f"{target};transport={trunk.transport}"

    def onIncomingCall(self, prm: Any) -> None:
        """An INVITE whose offer we could answer; 488 is already out for any other."""
        self._on_invite(self, prm.callId, prm.rdata)

    def onIncomingSubscribe(self, prm: Any) -> None:
        """Presence is nobody's business; the library would accept, and keep a dialog for as long as asked."""
        prm.code, prm.reason = FORBIDDEN, "Forbidden"


class RegistrarAccount(pj.Account):  # type: ignore[misc]
    """One binding at one server."""

    def __init__(self, server: int, answers: list[tuple[int, int, str]]) -> None:
        super().__init__()
        self.server = server
        self._answers = answers  # read outside of callbacks

    def onRegState(self, prm: Any) -> None:
        """A REGISTER has its final answer; an unregistration's counts no more."""
        if prm.expiration > 0 or not 200 <= prm.code < 300:
            self._answers.append((self.server, int(prm.code), prm.rdata.wholeMsg))


@dataclass(slots=True, eq=False)
class _Registered:
    """One trunk's registration: its cycle, and the accounts that it has by server."""

    name: str
    trunk: Trunk
    cycle: RegistrationCycle
    answers: list[tuple[int, int, str]]
    accounts: dict[int, RegistrarAccount]
    renew_at_s: float | None = None


class TrunkAccounts:
    """Every account there is; `SipLines` asks which one a call belongs to."""

    def __init__(self, settings: SipSettings, on_invite: OnInvite, on_registered: OnRegistered) -> None:
        self._settings, self._on_invite, self._on_registered = settings, on_invite, on_registered
        self._default: CallAccount | None = None
        self._calls: dict[str, CallAccount] = {}
        self._retired: list[CallAccount] = []
        self._registrations: dict[str, _Registered] = {}
        self._peers = PeerMap({})
        self._is_leaving = False

    @property
    def default(self) -> CallAccount:
        """The account of peers that are in no trunk; it is there once opened."""
        assert self._default is not None
        return self._default

    def open(self, trunks: Mapping[str, Trunk]) -> None:
        """Create the default account, which the library falls back to, and the trunks'."""
        self._default = CallAccount("", None, self._on_invite)
        self._default.create(account_config(self._settings, None))
        self.apply(trunks)

    def apply(self, trunks: Mapping[str, Trunk]) -> None:
        """Have exactly these trunks from now on; what has not changed stays, and so does every live call.

        Raises TelephonyError, and has changed nothing, when the library refuses one of them.
        """
        self.sweep()
        same = {name: one for name, one in self._calls.items() if trunks.get(name) == one.trunk}
        new = self._made({name: trunk for name, trunk in trunks.items() if name not in same})
        set_networks(self._settings, trunks.values())
        self._retired += [one for name, one in self._calls.items() if name not in same]
        self._calls, self._peers = same | new, PeerMap(trunks)
        self._apply_registrations(trunks)
        self.sweep()

    @property
    def _room(self) -> int:
        """Accounts that the library can still take."""
        num_registrars = sum(len(one.accounts) for one in self._registrations.values())
        return MAX_ACCOUNTS - 1 - len(self._calls) - len(self._retired) - num_registrars

    def _made(self, trunks: Mapping[str, Trunk]) -> dict[str, CallAccount]:
        """A new account for each of these, or none at all."""
        made: dict[str, CallAccount] = {}
        if len(trunks) > self._room:
            raise TelephonyError(
                f"{len(trunks)} trunks are new or changed, but only {self._room} accounts are left until "
                "calls of the old ones are over; change fewer at a time"
            )
        for name, trunk in trunks.items():
            account = CallAccount(name, trunk, self._on_invite)
            try:
                account.create(account_config(self._settings, trunk))
            except pj.Error as error:
                for one in made.values():
                    one.shutdown()
                raise TelephonyError(f"the library refuses trunk {name} ({error.reason}); mend it") from None
            made[name] = account
        return made

    def account_of(self, source: str) -> CallAccount:
        """The account that a source address's calls belong to."""
        name = self._peers.trunk_of(source)
        return self._calls[name] if name is not None else self.default

    def by_name(self, name: str) -> CallAccount:
        """A trunk's account, "" for the default. Raises TelephonyError if there is no such trunk."""
        if not name:
            return self.default
        if name not in self._calls:
            raise TelephonyError(f"there is no trunk {name!r}; known: {', '.join(self._calls) or 'none'}")
        return self._calls[name]

    def sweep(self) -> None:
        """Let go of accounts that nobody wants any more and that have no calls."""
        self._retired = [account for account in self._retired if not _is_gone(account)]

    def registered(self) -> dict[str, bool]:
        """Of each trunk that registers, whether it is."""
        return {name: one.cycle.is_registered for name, one in self._registrations.items()}

    def look_after(self) -> None:
        """Take in what registrars have answered, and send what is due. Outside of callbacks."""
        if self._is_leaving:
            return
        now_s = time.monotonic()
        for one in self._registrations.values():
            self._take_answers(one, now_s)
            server = one.cycle.due(now_s)
            if server is not None:
                self._register(one, server)
            if one.renew_at_s is not None and now_s >= one.renew_at_s:
                one.renew_at_s = None
                for account in one.accounts.values():
                    _register_again(account)

    def unregister_all(self) -> None:
        """Tell every registrar that we are going; `is_unregistered` says when they know. Harmless twice."""
        self._is_leaving = True
        for one in self._registrations.values():
            for account in one.accounts.values():
                _unregister(account)

    def is_unregistered(self) -> bool:
        """Whether every registrar has let us go."""
        accounts = [account for one in self._registrations.values() for account in one.accounts.values()]
        return not any(account.getInfo().regIsActive for account in accounts)

    def close(self) -> None:
        """Drop every account; calls must be gone before."""
        for one in self._registrations.values():
            for registrar in one.accounts.values():
                registrar.shutdown()
        for account in (*self._calls.values(), *self._retired):
            account.shutdown()
        if self._default is not None:
            self._default.shutdown()
        self._registrations, self._calls, self._retired, self._default = {}, {}, [], None

    # ---- registrations ----

    def _apply_registrations(self, trunks: Mapping[str, Trunk]) -> None:
        replaced: set[str] = set()
        for name, one in list(self._registrations.items()):
            if name not in trunks or _registers_as(trunks[name]) != _registers_as(one.trunk):
                for account in one.accounts.values():
                    account.shutdown()
                del self._registrations[name]
                replaced.add(name)
        for name, trunk in trunks.items():
            if trunk.registration is not None and name not in self._registrations:
                now_s = time.monotonic()
                cycle = RegistrationCycle(trunk.registration, len(trunk.servers), random.random, now_s)
                renew_at_s = now_s + SETTLE_S if name in replaced else None
                self._registrations[name] = _Registered(name, trunk, cycle, [], {}, renew_at_s)

    def _take_answers(self, one: _Registered, now_s: float) -> None:
        while one.answers:
            server, code, message = one.answers.pop(0)
            was = one.cycle.server
            one.cycle.on_answer(server, code, now_s, retry_after_s(message))
            result = result_of(code)
            self._on_registered(one.name, one.cycle.is_registered, result)
            if one.cycle.server != was:
                level = log.info if one.cycle.is_registered else log.warning
                level(
                    "trunk_registered" if one.cycle.is_registered else "trunk_unregistered",
                    trunk=one.name,
                    server=one.trunk.servers[server],
                    code=code,
                )
            if result is not RegistrationResult.OK and server != one.cycle.server:
                self._leave(one, server)
            elif was is not None and was != one.cycle.server:
                self._leave(one, was)
                one.renew_at_s = now_s + SETTLE_S

    def _register(self, one: _Registered, server: int) -> None:
        self._leave(one, server)
        account = RegistrarAccount(server, one.answers)
        one.cycle.began(server)
        try:
            if not self._room:
                raise TelephonyError(f"all {MAX_ACCOUNTS} accounts are in use")
            account.create(registrar_config(self._settings, one.trunk, server))
        except (pj.Error, TelephonyError) as error:
            cause = error.reason if isinstance(error, pj.Error) else str(error)
            log.warning("trunk_unregistered", trunk=one.name, server=one.trunk.servers[server], cause=cause)
            one.answers.append((server, 503, ""))
            return
        one.accounts[server] = account

    @staticmethod
    def _leave(one: _Registered, server: int) -> None:
        account = one.accounts.pop(server, None)
        if account is not None:
            account.shutdown()


def account_config(settings: SipSettings, trunk: Trunk | None) -> Any:
    """The library's settings of an account that takes and places calls."""
    config = pj.AccountConfig()
    config.idUri = f"sip:offhook@{_bracketed(settings.bind_address)}"
    media = config.mediaConfig
    media.transportConfig.boundAddress = settings.bind_address
    media.transportConfig.port = settings.rtp_port_min
    media.transportConfig.portRange = settings.rtp_port_max - settings.rtp_port_min
    media.lockCodecEnabled = False  # we answer with one codec; no re-INVITE of ours is needed
    if settings.public_address:
        media.transportConfig.publicAddress = settings.public_address
    config.regConfig.registerOnAdd = False
    if trunk is None:
        config.callConfig.prackUse = pj.PJSUA_100REL_OPTIONAL
        return config
    config.idUri = f"sip:{trunk.user}@{trunk.scheme_host}"
    _sign(config, trunk)
    if trunk.public_address:
        media.transportConfig.publicAddress = trunk.public_address
        port = settings.tls.port if trunk.transport == "tls" else settings.port
        address = f"{_bracketed(trunk.public_address)}:{port}" if port else _bracketed(trunk.public_address)
        config.sipConfig.contactForced = f"<{trunk.uri(address, trunk.user)}>"
    media.srtpUse = SRTP_USE[trunk.srtp]
    media.srtpSecureSignaling = 0  # what may go over which transport is checked with the trunk
    media.srtpOpt.keyings = pj.IntVector([SRTP_KEYING[one] for one in trunk.srtp_keying])
    calls = config.callConfig
    calls.prackUse = PRACK_USE[trunk.prack]
    calls.timerUse = TIMER_USE[trunk.session_timer.use]
    calls.timerSessExpiresSec, calls.timerMinSESec = trunk.session_timer.expires_s, trunk.session_timer.min_s
    return config


def registrar_config(settings: SipSettings, trunk: Trunk, server: int) -> Any:
    """The library's settings of an account that registers at one of the trunk's servers, once."""
    assert trunk.registration is not None
    config = account_config(settings, trunk)
    config.regConfig.registrarUri = trunk.uri(trunk.servers[server])
    config.regConfig.registerOnAdd = True
    config.regConfig.timeoutSec = trunk.registration.expires_s
    config.regConfig.delayBeforeRefreshSec = REFRESH_BEFORE_S if trunk.registration.expires_s >= 90 else 10
    config.regConfig.retryIntervalSec = 0  # where and when to try again is ours to say
    config.regConfig.firstRetryIntervalSec = 0
    config.regConfig.proxyUse = 0
    return config


def _sign(config: Any, trunk: Trunk) -> None:
    if trunk.credentials is not None:
        known = trunk.credentials
        config.sipConfig.authCreds.append(
            pj.AuthCredInfo("digest", known.realm, known.user, 0, known.password.get_secret_value())
        )


def _registers_as(trunk: Trunk) -> tuple[object, ...]:
    """What a registration depends on."""
    return (
        trunk.registration,
        trunk.servers,
        trunk.transport,
        trunk.user,
        trunk.domain,
        trunk.credentials,
        trunk.public_address,
    )


def _is_gone(account: CallAccount) -> bool:
    """Whether the library has let go of it; it does not while a call is left."""
    parameters = pj.AccountShutdownParam()
    parameters.force = False
    try:
        account.shutdown2(parameters)
    except pj.Error:
        return False
    return True


def _register_again(account: RegistrarAccount) -> None:
    try:
        account.setRegistration(True)
    except pj.Error as error:
        log.debug("registration_not_renewed", cause=error.reason)  # one is on its way


def _unregister(account: RegistrarAccount) -> None:
    try:
        account.setRegistration(False)
    except pj.Error as error:
        log.debug("unregistration_failed", cause=error.reason)


def retry_after_s(message: str) -> int | None:
    """What a response says about trying again (RFC 3261 section 20.33)."""
    for line in message.split("\r\n\r\n", 1)[0].split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "retry-after":
            digits = value.split(";")[0].split("(")[0].strip()
            return int(digits) if digits.isdecimal() and len(digits) < 8 else None
    return None


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
