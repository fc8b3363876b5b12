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


def test_bursts_have_their_mean_and_the_share_of_losses_stays() -> None:
    bad = Impairment(loss=0.05, burst=4)
    assert bad.name == "5 % loss in bursts of 4"
    network = Network(bad, 1)
    lost = np.array([network.delivery_s(0.02 * n) is None for n in range(200_000)])
    assert 0.045 < lost.mean() < 0.055
    bursts = np.count_nonzero(np.diff(lost.astype(int), prepend=0) == 1)
    assert 3.7 < lost.sum() / bursts < 4.3
    assert Network(Impairment(loss=1.0, burst=4), 0).delivery_s(0.0) is None


def test_some_packets_are_overtaken() -> None:
    bad = Impairment(reordered=0.1)
    assert bad.name == "10 % overtaken"
    network = Network(bad, 2)
    times = np.arange(5_000) * 0.02
    due = np.array([network.delivery_s(at) for at in times], float)
    late = due - times
    assert set(np.round(late, 6)) == {0.0, 0.03} and 0.08 < (late > 0).mean() < 0.12
    assert (np.diff(due) < 0).any(), "one comes before the one that was sent before it"


def test_an_outage_takes_everything_while_it_lasts() -> None:
    bad = Impairment(outage_at_s=1.0, outage_s=0.5)
    assert bad.name == "0.5 s outage"
    network = Network(bad, 0)
    times = [10.0, *np.arange(10.01, 12.0, 0.02)]
    passed = [at for at in times if network.delivery_s(float(at)) is not None]
    assert not any(11.0 <= at < 11.5 for at in passed)
    assert 70 <= len(passed) <= 76
