"""Running side by side: order, errors, cancellation; one alone costs no task."""

import asyncio

import pytest

from agentsearch.problem import gather, settle


async def after(delay_s, result=None, *, log=None, error=None):
    try:
        await asyncio.sleep(delay_s)
    except asyncio.CancelledError:
        if log is not None:
            log.append(("cancelled", result))
        raise
    if log is not None:
        log.append(("ended", result))
    if error is not None:
        raise error
    return result


def test_results_come_in_the_order_asked_and_start_in_it():
    log = []
    started = []

    async def one(name, delay_s):
        started.append(name)
        return await after(delay_s, name, log=log)

    work = settle(one("slow", 0.02), one("fast", 0.0), one("middle", 0.01))
    assert asyncio.run(work) == ["slow", "fast", "middle"]
    assert started == ["slow", "fast", "middle"]
    assert [name for _, name in log] == ["fast", "middle", "slow"]


def test_one_alone_runs_in_the_task_of_its_caller():
    async def task_of():
        return asyncio.current_task()

    async def work():
        alone = await settle(task_of())
        first, second = await settle(task_of(), task_of())
        me = asyncio.current_task()
        return alone == [me], first is me, second is me, await settle()

    assert asyncio.run(work()) == (True, True, False, [])


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_waits_for_the_others_and_then_is_raised(failing):
    log, error = [], ValueError("no")

    def both():
        return [
            after(0.0 if i == failing else 0.01, i, log=log, error=error if i == failing else None)
            for i in (0, 1)
        ]

    assert asyncio.run(settle(*both()))[failing] is error
    log.clear()
    with pytest.raises(ValueError, match="no"):
        asyncio.run(gather(*both()))
    assert log == [("ended", failing), ("ended", 1 - failing)]


def test_whoever_is_cancelled_leaves_nobody_behind():
    log = []

    async def work():
        task = asyncio.create_task(settle(*(after(5.0, i, log=log) for i in range(3))))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(work()) == set()
    assert sorted(log) == [("cancelled", 0), ("cancelled", 1), ("cancelled", 2)]


def test_a_timeout_within_one_reaches_only_that_one():
    async def hurried():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5.0)

    first, second = asyncio.run(settle(hurried(), after(0.02, "fine")))
    assert isinstance(first, TimeoutError) and second == "fine"
