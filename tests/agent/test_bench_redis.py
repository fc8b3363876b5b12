"""A Redis that a bench may kill: on one port, empty each time."""

import pytest
from redis import Redis
from redis.exceptions import RedisError

from agent import bench_redis
from agent.bench_redis import RedisProcess
from agent.errors import RedisUnavailable

pytestmark = pytest.mark.redis


def test_it_comes_back_on_its_port_without_memory() -> None:
    with RedisProcess() as redis:
        client = Redis.from_url(redis.url)
        client.set("key", "value")
        client.close()
        assert redis.get("key") == "value"
        redis.kill()
        redis.kill()  # harmless
        with pytest.raises(RedisError):
            redis.get("key")
        redis.start()
        assert redis.get("key") == ""
    with pytest.raises(RedisError):
        redis.get("key")


def test_without_a_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_redis, "find_redis_server", lambda: None)
    with pytest.raises(RedisUnavailable, match="make setup"):
        RedisProcess().start()
