"""Which of several servers gets a request."""

from collections import Counter

from agentsearch.engines.replicas import Replica, choose, prefix_of
from agentsearch.types import Message


def replicas(*loads: int) -> list[Replica]:
    return [Replica(f"http://host{i}/v1", in_flight=load) for i, load in enumerate(loads)]


def test_idle_servers_share_the_prefixes_and_each_prefix_has_one_home():
    servers = replicas(0, 0, 0)
    homes = [choose(servers, f"task {i}") for i in range(300)]
    assert homes == [choose(servers, f"task {i}") for i in range(300)]
    shares = Counter(home.url for home in homes)
    assert len(shares) == 3
    assert min(shares.values()) > 70


def test_a_prefix_stays_at_home_until_there_is_markedly_more_to_do_there():
    home = choose(replicas(0, 0), "a task")
    for own, others, stays in [(4, 0, True), (5, 0, False), (19, 10, True), (20, 10, False)]:
        servers = replicas(others, others)
        servers[int(home.url[11])].in_flight = own
        assert (choose(servers, "a task").url == home.url) is stays


def test_when_a_server_leaves_only_its_own_prefixes_move():
    servers = replicas(0, 0, 0)
    for i in range(100):
        home = choose(servers, f"task {i}")
        after = choose([each for each in servers if each is not servers[1]], f"task {i}")
        assert after is home or home is servers[1]


def test_what_requests_have_in_common_is_the_system_message_and_the_first_words():
    system, first = Message("system", "s" * 999), Message("user", "go " * 200)
    later = (Message("assistant", "left"), Message("user", "a wall"))
    assert prefix_of((system, first)) == prefix_of((system, first, *later))
    assert prefix_of((system, first)) == "s" * 999 + ("go " * 200)[:256]
    assert prefix_of((first, *later)) == ("go " * 200)[:256]
    assert prefix_of((system, Message("user", "another"))) != prefix_of((system, first))
