"""Whether a caller may come in, and how they will be answered: the dial plan and the caps. Event loop only.

door.enter(call_id, invite)     a CallPlan; or None, and the caller has heard why not
door.enter_out(call_id, trunk)  a call of ours: False if its trunk has no more
door.leave(call_id)             whatever came of either
"""

from __future__ import annotations

import ipaddress

import structlog

from agent import clock, metrics
from agent.dial_plan import CallPlan
from agent.dial_plan_watch import DialPlanBook
from agent.errors import EndReason
from agent.settings import Settings
from telephony.call_limits import CallCap, CallLimiter
from telephony.endpoint import IncomingCall
from telephony.sip_uri import called_user
from telephony.trunks import Trunk

log = structlog.get_logger(__name__)


class CallDoor:
    """One for all calls that come to a gateway."""

    def __init__(self, settings: Settings, plain: CallPlan, plans: DialPlanBook | None = None) -> None:
        """`plain` is for calls from browsers, and for all of them without `plans`."""
        self._settings, self._plain, self._plans = settings, plain, plans
        self._limiter = CallLimiter(clock.now)

    def enter(self, call_id: str, invite: IncomingCall) -> CallPlan | None:
        """How the call is to be answered, and it counts from now on; None: it has been refused."""
        plan = self._plan_of(invite)
        over = self._limiter.enter(call_id, self._caps(invite, plan))
        if over is not None:
            self._refuse_over(invite, over)
            return None
        if plan is None:
            invite.reject(404, "Nobody is called that here")
            refused(invite.transport, EndReason.UNKNOWN_LINE)
        return plan

    def enter_out(self, call_id: str, trunk: str) -> bool:
        """Count a call of ours among its trunk's; False, and it is not counted, if there may be no more."""
        known = self._plans.plan.trunks.get(trunk) if self._plans is not None else None
        if known is None:
            return True
        return self._limiter.enter(call_id, [CallCap(f"trunk:{trunk}", known.max_calls or 0)]) is None

    def leave(self, call_id: str) -> None:
        """The call is over. Harmless for one that was refused."""
        self._limiter.leave(call_id)

    def passed_headers(self, invite: IncomingCall) -> dict[str, str]:
        """What of the INVITE goes on to whom the agent asks."""
        trunk = self._trunk_of(invite)
        return trunk.passed_headers(invite.headers) if trunk is not None else {}

    def _plan_of(self, invite: IncomingCall) -> CallPlan | None:
        if self._plans is None or invite.transport != "sip":
            return self._plain
        return self._plans.plan.find(invite.called, invite.trunk)

    def _trunk_of(self, invite: IncomingCall) -> Trunk | None:
        return self._plans.plan.trunks.get(invite.trunk) if self._plans is not None else None

    def _caps(self, invite: IncomingCall, plan: CallPlan | None) -> list[CallCap]:
        """What limits this call; where no line, trunk or source is known, none of its own."""
        limits, trunk = self._settings.limits, self._trunk_of(invite)
        caps: list[CallCap] = []
        if plan is not None and (line := plan.key or called_user(invite.called)):
            caps.append(CallCap(f"line:{line}", plan.max_calls or limits.calls_per_line))
        if trunk is not None:  # counted without a cap, too: a reload may set one
            caps.append(CallCap(f"trunk:{invite.trunk}", trunk.max_calls or 0))
        if invite.source:
            rate = limits.new_calls_per_source_s
            caps.append(CallCap(f"source:{host_of(invite.source)}", limits.calls_per_source, rate))
        return caps

    def _refuse_over(self, invite: IncomingCall, over: CallCap) -> None:
        """A busy line or trunk is busy; a caller over its allowance may come back."""
        if over.name.startswith(("line:", "trunk:")):
            invite.reject(486, "Busy Here")
            refused(invite.transport, EndReason.LINE_FULL)
            return
        invite.reject(503, "Over the limit", {"Retry-After": str(self._settings.sip.retry_after_s)})
        refused(invite.transport, EndReason.OVER_LIMIT)


def host_of(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 that a host of IPv6 picks its addresses from."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return source
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def refused(transport: str, reason: EndReason) -> None:
    """Note a call that was not answered."""
    log.info("call_refused", transport=transport, reason=reason.value)
    metrics.CALLS.labels("inbound", transport, reason.value).inc()
