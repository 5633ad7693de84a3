"""How many tasks at once: the rule, the places, and what a watch sees of engines."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from agentsearch.budget import Limits, Metered
from agentsearch.engines.load import Load, Traffic
from agentsearch.runner import Setup, run
from agentsearch.search.best_first import BestFirst
from agentsearch.throughput import LEAST, MOST, START, Slots, Watch, at_once, next_level
from agentsearch.types import Completion, Message, Request
from agentsearch.values.plain import Uniform
from tests.toy import Letters, Sampler


def seen(running=0, waiting=0, cache_use=0.1, queued=0):
    return Traffic(queued=queued, servers={"a": Load(running, waiting, cache_use)})


@pytest.mark.parametrize(
    ("level", "look", "expected"),
    [
        (16, seen(running=16), 24),
        (17, seen(running=0), 25),
        (16, seen(running=16, cache_use=0.95), 16),
        (16, seen(running=16, waiting=4), 16),
        (16, seen(running=16, waiting=5), 12),
        (16, seen(running=16, queued=5), 12),
        (16, seen(running=0, waiting=1), 12),
        (5, seen(running=4, waiting=9), LEAST),
        (LEAST, seen(running=4, waiting=9), LEAST),
        (400, seen(running=400), MOST),
        (16, Traffic(queued=50), 16),
    ],
)
def test_more_while_there_is_room_and_fewer_once_requests_queue_up(level, look, expected):
    assert next_level(level, look) == expected


def test_the_load_of_all_servers_counts_together_but_for_the_fullest_memory():
    loads = {"a": Load(20, 4, 0.1), "b": Load(20, 4, 0.1)}
    assert next_level(16, Traffic(servers=loads)) == 16
    assert next_level(16, Traffic(servers={**loads, "c": Load(0, 3, 0.1)})) == 12
    assert next_level(16, Traffic(servers={"a": Load(1), "b": Load(1, 0, 0.95)})) == 16


@pytest.mark.parametrize("room", [8, 40, 200])
def test_the_level_settles_near_what_a_server_has_room_for(room):
    level = START
    for _ in range(30):
        level = next_level(level, seen(running=min(level, room), waiting=max(0, level - room)))
    assert room < level <= 1.25 * room


def test_places_can_become_more_and_fewer():
    async def main():
        slots, inside, most = Slots(2), 0, []

        async def one():
            nonlocal inside
            async with slots:
                inside += 1
                most.append(inside)
                await asyncio.sleep(0)
                inside -= 1

        tasks = [asyncio.create_task(one()) for _ in range(12)]
        while len(most) < 4:
            await asyncio.sleep(0)
        assert max(most) == 2 and slots.full
        before = len(most)
        await slots.set(5)
        while len(most) < 10:
            await asyncio.sleep(0)
        assert max(most[before:]) == 5
        await slots.set(1)
        await asyncio.gather(*tasks)
        assert len(most) == 12 and inside == 0 and not slots.full

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_takes_no_place():
    async def main():
        slots = Slots(1)

        async def hold():
            async with slots:
                await asyncio.sleep(3600)

        first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
        for _ in range(5):
            await asyncio.sleep(0)
        for each in (second, first):
            each.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(5), slots:
            assert slots.full

    asyncio.run(main())


@dataclass
class Server:
    """An engine whose server has room for some requests."""

    room: int
    running: int = 0
    asked: int = 0
    most: int = 0
    free = True

    async def generate(self, request):
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.002)
        self.running -= 1
        return [Completion("a", "stop", prompt_tokens=1, generated_tokens=1)] * request.n

    async def traffic(self):
        load = Load(min(self.running, self.room), max(0, self.running - self.room))
        return Traffic(self.running, asked=self.asked, servers={"a": load})

    async def close(self):
        pass


@dataclass(frozen=True)
class Asking(Sampler):
    """Asks its engine, then does as it likes."""

    engine: Server | None = None

    async def propose(self, context, n, *, seed, mode="sample"):
        await self.engine.generate(Request((Message("user", "?"),), account=context.account))
        return await super().propose(context, n, seed=seed, mode=mode)


class Many(Letters):
    def tasks(self, split):
        return [replace(super(Many, self).tasks(split)[0], id=str(i)) for i in range(300)]


def a_run(concurrency, room):
    server = Server(room)
    setup = Setup(
        Many(), Asking(engine=server), Uniform(), BestFirst(width=2), Limits(calls=5), seed=1
    )
    watch = Watch(setup.engines, every_s=0.004)
    tasks = setup.env.tasks("train")
    results = asyncio.run(run(setup, tasks, concurrency=concurrency, watch=watch))
    return results, watch, server


def test_auto_finds_more_places_and_decides_no_result():
    results, watch, server = a_run("auto", room=60)
    assert {each.status for each in results} == {"ok"}
    assert START < server.most < 200  # looks come faster than tasks begin
    assert watch.figures()["concurrency"] == watch.slots.level > START
    alone, fixed, other = a_run(3, room=60)
    assert other.most == 3 and "concurrency" not in fixed.figures()
    trees = [[each.tree.to_json() for each in found] for found in (results, alone)]
    assert trees[0] == trees[1]


def test_auto_goes_below_the_first_level_where_the_server_is_small():
    _, watch, _ = a_run("auto", room=4)
    assert LEAST <= watch.slots.level < START


def test_auto_is_a_constant_where_no_server_says_anything():
    assert (at_once("auto"), at_once(7)) == (START, 7) == (16, 7)
    setup = Setup(Many(instant=False), Sampler(), Uniform(), BestFirst(), Limits(calls=2))
    running, most = set(), 0

    def note(kind, task, result):
        nonlocal most
        (running.add if kind == "started" else running.remove)(task.id)
        most = max(most, len(running))

    asyncio.run(run(setup, setup.env.tasks("train"), concurrency="auto", on_event=note))
    assert most == START


@dataclass
class Told:
    """An engine with the traffic it is told."""

    looks: list

    async def traffic(self):
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def watched(*looks):
    """The watch, and the figures it had after each look."""
    after = []

    async def main():
        watch = Watch([Metered(Told(list(looks)))], lambda w: after.append(w.figures()), 0.0)
        async with watch:
            while len(after) < len(looks):
                await asyncio.sleep(0)
        return watch

    return asyncio.run(main()), after


def test_a_hit_rate_is_that_of_the_block_alone():
    watch, after = watched(
        Traffic(servers={"a": Load(looked_up=1000, hits=1000)}),
        Traffic(servers={"a": Load(looked_up=1100, hits=1025), "b": Load(looked_up=50, hits=50)}),
        Traffic(servers={"b": Load(looked_up=150, hits=75)}),
    )
    rates = [each.get("prefix_cache_hit_rate") for each in after[:3]]
    assert rates == [None, 0.25, 0.25]
    assert watch.hit_rate == 50 / 200


def test_a_server_that_was_started_again_counts_from_nothing():
    watch, _ = watched(
        Traffic(servers={"a": Load(looked_up=1000, hits=900)}),
        Traffic(),
        Traffic(servers={"a": Load(looked_up=100, hits=50)}),
    )
    assert watch.hit_rate == 0.5


def test_queueing_is_a_mean_over_the_requests_of_the_block():
    watch, after = watched(
        Traffic(in_flight=0, asked=10, in_flight_s=5.0, queued_s=7.0),
        Traffic(in_flight=3, asked=14, in_flight_s=9.0, queued_s=8.0),
    )
    assert after[0] == {}
    figures = watch.figures()
    assert figures["queue_seconds"] == 0.25 and figures["in_flight"] > 0
    assert set(figures) == {"queue_seconds", "in_flight"}
    assert watch.in_flight == 3


def test_what_nobody_says_is_missing():
    for engines in ([], [Metered(object())], [Metered(Server(room=1))]):
        watch = Watch(engines)

        async def go(watch=watch):
            async with watch:
                await asyncio.sleep(0)

        asyncio.run(go())
        assert (watch.figures(), watch.in_flight, watch.hit_rate) == ({}, None, None)
