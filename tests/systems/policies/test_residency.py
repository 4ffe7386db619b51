from systems.policies.residency import Lru


def test_victim_is_the_least_recently_used_that_may_go() -> None:
    policy = Lru()
    for expert in (3, 1, 2):
        policy.admitted(expert)
    policy.used(3)
    assert policy.victim(lambda expert: True) == 1
    assert policy.victim(lambda expert: expert != 1) == 2
    assert policy.victim(lambda expert: False) is None
    policy.evicted(1)
    assert policy.victim(lambda expert: True) == 2
