"""Registrations as figures: what `SipGateway` tells of its trunks. Event loop only."""

from agent import metrics
from agent.dial_plan import DialPlan
from telephony.registration import RegistrationResult


def note_registration(trunk: str, is_registered: bool, result: RegistrationResult) -> None:
    """One REGISTER of this trunk has been answered, or given up."""
    metrics.TRUNK_REGISTERED.labels(trunk).set(is_registered)
    metrics.TRUNK_REGISTRATIONS.labels(trunk, result.value).inc()


def forget_registrations(plan: DialPlan) -> None:
    """Drop the figures of trunks that do not register any more, and begin those of new ones at 0."""
    wanted = {name for name, trunk in plan.trunks.items() if trunk.registration is not None}
    shown = {labels[0] for labels in list(metrics.TRUNK_REGISTERED._metrics)}
    for name in shown - wanted:
        metrics.TRUNK_REGISTERED.remove(name)
    for name in wanted - shown:
        metrics.TRUNK_REGISTERED.labels(name).set(0)
