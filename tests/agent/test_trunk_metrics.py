from agent import metrics
from agent.dial_plan import CallPlan, DialPlan
from agent.settings import AgentSettings, CallSettings
from agent.trunk_metrics import forget_registrations, note_registration
from model.control import CallProfile
from telephony.registration import RegistrationResult
from telephony.trunks import Registration, Trunk


def plan(*names: str) -> DialPlan:
    trunk = Trunk(servers=("a.example",), registration=Registration())
    peer = Trunk(peers=("192.0.2.0/24",))
    fallback = CallPlan("", "", AgentSettings(), CallProfile(), CallSettings())
    return DialPlan({name: trunk for name in names} | {"peer": peer}, (), fallback)


def registered(trunk: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("offhook_trunk_registered", {"trunk": trunk})


def test_registrations_show_from_the_start_and_leave_with_their_trunk() -> None:
    forget_registrations(plan("a", "b"))
    assert (registered("a"), registered("b"), registered("peer")) == (0, 0, None)
    note_registration("a", True, RegistrationResult.OK)
    forget_registrations(plan("a"))
    assert (registered("a"), registered("b")) == (1, None)
    labels = {"trunk": "a", "result": "ok"}
    assert metrics.REGISTRY.get_sample_value("offhook_trunk_registrations_total", labels) == 1
    forget_registrations(plan())
    assert registered("a") is None
