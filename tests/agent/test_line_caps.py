from agent.line_caps import LineCaps


def test_a_call_counts_under_every_key_or_under_none() -> None:
    caps = LineCaps()
    limits = {"line 1": 2, "trunk a": None}
    with caps.taken(limits) as first, caps.taken(limits) as second:
        assert first and second and caps.num_live("trunk a") == 2
        with caps.taken(limits) as third:
            assert not third and caps.num_live("trunk a") == 2
        with caps.taken({"line 2": 1, "trunk a": 2}) as other:
            assert not other and caps.num_live("line 2") == 0
    assert caps.num_live("line 1") == caps.num_live("trunk a") == 0


def test_what_is_counted_is_given_back_when_a_call_fails() -> None:
    caps = LineCaps()
    try:
        with caps.taken({"line 1": 1}):
            raise ValueError
    except ValueError:
        pass
    with caps.taken({"line 1": 1}) as is_free:
        assert is_free
