"""Which replies are remembered, for how long, and what is counted as saved."""

import asyncio
from dataclasses import replace

import pytest

from agentsearch.budget import Account, Budget, Limits, Metered
from agentsearch.engines.memory import Memory, has_one_answer
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import EngineError
from agentsearch.types import Message, Request

SCORED = Request((Message("user", "left or right"),), choices=("go left", "stay"))
GREEDY = Request((Message("user", "left or right"),), temperature=0.0, n=2)


class Model:
    """Answers slowly; lists the requests that reached it."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.engine = ScriptedEngine(lambda request, i: "go", score=lambda request, c: -1.0)

    async def generate(self, request):
        self.asked.append(request)
        await asyncio.sleep(0.01)
        return await self.engine.generate(request)


def other(request, word):
    return replace(request, messages=(Message("user", word),))


def test_scores_and_temperature_0_have_one_answer():
    assert has_one_answer(SCORED) and has_one_answer(GREEDY)
    assert not has_one_answer(replace(GREEDY, temperature=1.0))


def test_the_second_reply_is_the_first_whatever_the_seed_and_who_pays():
    model = Model()
    memory = Memory(model.generate, 10)

    async def main():
        account = Account(Budget(Limits(calls=5)))
        first = await memory.reply(replace(SCORED, seed=1, account=account))
        return first, await memory.reply(replace(SCORED, seed=2))

    first, second = asyncio.run(main())
    assert first == second == asyncio.run(model.engine.generate(SCORED))
    assert len(model.asked) == 1
    assert model.asked[0].account is None  # a remembered request keeps nobody's budget alive
    first.clear()
    second.clear()
    assert len(asyncio.run(memory.reply(SCORED))) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("user", "elsewhere"),)},
        {"messages": (Message("system", "left or right"),)},
        {"n": 1},
        {"max_tokens": 7},
        {"stop": ("\n",)},
        {"choices": ("go left",)},
    ],
    ids=str,
)
def test_another_request_is_asked(change):
    model = Model()
    memory = Memory(model.generate, 10)

    async def main():
        await memory.reply(GREEDY)
        await memory.reply(replace(GREEDY, **change))

    asyncio.run(main())
    assert len(model.asked) == 2 and not memory.counts


def test_what_is_saved_is_counted_as_budgets_count_it():
    # 3 words of prompt; choices of 2 and 1 words; two greedy replies of one word
    memory = Memory(Model().generate, 10)

    async def main():
        for request in (SCORED, SCORED, GREEDY, GREEDY, GREEDY):
            await memory.reply(request)

    asyncio.run(main())
    assert memory.counts == {"saved_calls": 1 + 2 * 2, "saved_tokens": (3 + 3) + 2 * (3 + 2)}


def test_a_remembered_reply_is_charged_as_if_made():
    class Remembering:
        def __init__(self) -> None:
            self.generate = Memory(Model().generate, 10).reply

        async def close(self): ...

    async def main():
        engine, usages = Metered(Remembering()), []
        for _ in range(2):
            account = Account(Budget(Limits(calls=5)))
            await engine.generate(replace(SCORED, account=account))
            usages.append(account.usage)
        return usages

    first, second = asyncio.run(main())
    assert first == second and (first.calls, first.tokens) == (1, 6)


def test_equal_requests_in_flight_share_one_computation():
    model = Model()
    memory = Memory(model.generate, 10)

    async def main():
        return await asyncio.gather(*(memory.reply(SCORED) for _ in range(5)))

    replies = asyncio.run(main())
    assert len(model.asked) == 1 and replies == [replies[0]] * 5
    assert memory.counts["saved_calls"] == 4


def test_who_leaves_takes_no_answer_away():
    model = Model()
    memory = Memory(model.generate, 10)

    async def main():
        first, second = (asyncio.create_task(memory.reply(SCORED)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert len(asyncio.run(main())) == 2 and len(model.asked) == 1


def test_an_error_reaches_all_who_wait_and_is_not_kept():
    calls, complaints = [], []

    async def failing(request):
        calls.append(request)
        await asyncio.sleep(0)
        raise EngineError("The model fell over.")

    memory = Memory(failing, 10)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: complaints.append(what))
        return await asyncio.gather(
            *(memory.reply(SCORED) for _ in range(3)), return_exceptions=True
        )

    assert [str(error) for error in asyncio.run(main())] == ["The model fell over."] * 3
    assert len(calls) == 1
    asyncio.run(main())
    assert len(calls) == 2 and not memory.counts and not complaints


def test_the_least_recently_used_is_forgotten():
    model = Model()
    memory = Memory(model.generate, 2)

    async def main():
        for word in ("a", "b", "a", "c", "a", "b"):
            await memory.reply(other(SCORED, word))

    asyncio.run(main())
    assert [request.messages[0].content for request in model.asked] == ["a", "b", "c", "b"]


def test_cleared_it_asks_again_and_keeps_its_counts():
    model = Model()
    memory = Memory(model.generate, 2)

    async def main():
        await memory.reply(SCORED)
        await memory.reply(SCORED)
        memory.clear()
        await memory.reply(SCORED)

    asyncio.run(main())
    assert len(model.asked) == 2 and memory.counts["saved_calls"] == 1


def test_a_loop_that_died_leaves_nothing_to_wait_for():
    memory = Memory(Model().generate, 2)
    loop = asyncio.new_event_loop()
    dead = loop.create_task(memory.reply(SCORED))
    loop.run_until_complete(asyncio.sleep(0))
    assert len(asyncio.run(memory.reply(SCORED))) == 2
    dead.cancel()
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.close()
