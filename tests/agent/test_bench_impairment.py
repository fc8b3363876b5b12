"""The bad network: its loss, its delay, its order, its end."""

import numpy as np

from agent.bench_impairment import Impairment, Network


def test_a_clean_network_does_nothing() -> None:
    network = Network(Impairment(), 0)
    assert [network.delivery_s(at) for at in (1.0, 1.02, 1.04)] == [1.0, 1.02, 1.04]
    assert Impairment().name == "clean"


def test_loss_and_jitter_are_as_asked_and_the_same_for_a_seed() -> None:
    bad = Impairment(loss=0.05, jitter_s=0.06)
    assert bad.name == "5 % loss, 60 ms jitter"
    times = np.arange(5_000) * 0.02
    network, again = Network(bad, 3), Network(bad, 3)
    due = [network.delivery_s(at) for at in times]
    assert due == [again.delivery_s(at) for at in times]
    came = [(one, at) for one, at in zip(due, times, strict=True) if one is not None]
    assert 0.04 < 1 - len(came) / len(times) < 0.06
    waits = np.array([one - at for one, at in came])
    assert waits.min() >= 0 and 0.055 < waits.max() <= 0.06
    assert all(np.diff([one for one, _ in came]) >= 0), "queues keep the order"


def test_it_ends() -> None:
    network = Network(Impairment(loss=1.0, lasts_s=1.0), 0)
    assert network.delivery_s(10.0) is None and network.delivery_s(10.9) is None
    assert network.delivery_s(11.1) == 11.1
