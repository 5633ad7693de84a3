"""The batcher: order, cancellation, failures, several event loops."""

import asyncio
import threading
import time

import pytest

from agentsearch.engines.batcher import Batcher


class Recorder:
    """Doubles its items and remembers every batch."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.pause_s = pause_s

    def __call__(self, items: list[int]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.batches.append(list(items))
        time.sleep(self.pause_s)
        return [2 * item for item in items]


async def gathered(batcher: Batcher[int, int], items: range) -> list[int]:
    return await asyncio.gather(*(batcher.submit(item) for item in items))


def test_what_waits_together_runs_together_in_order():
    run = Recorder()
    assert asyncio.run(gathered(Batcher(run, 100), range(10))) == [2 * i for i in range(10)]
    assert run.batches == [list(range(10))]


def test_no_batch_exceeds_the_maximum():
    run = Recorder()
    asyncio.run(gathered(Batcher(run, 4), range(10)))
    assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_lone_item_does_not_wait_for_company():
    run = Recorder()
    start = time.perf_counter()
    assert asyncio.run(Batcher(run, 64).submit(3)) == 6
    assert time.perf_counter() - start < 2
    assert run.batches == [[3]]


def test_one_worker_thread_leaves_the_event_loop_free():
    run = Recorder(pause_s=0.05)
    turns = 0

    async def main() -> None:
        nonlocal turns
        batcher = Batcher(run, 2)
        work = asyncio.ensure_future(gathered(batcher, range(6)))
        while not work.done():
            await asyncio.sleep(0.001)
            turns += 1

    asyncio.run(main())
    assert turns > 5
    assert len(run.threads) == 1
    assert threading.get_ident() not in run.threads


def test_items_gather_while_a_batch_runs():
    run = Recorder(pause_s=0.05)

    async def main() -> None:
        batcher = Batcher(run, 64)
        first = asyncio.ensure_future(batcher.submit(0))
        while not run.batches:
            await asyncio.sleep(0.001)
        await asyncio.gather(first, *(batcher.submit(i) for i in range(1, 6)))

    asyncio.run(main())
    assert run.batches == [[0], [1, 2, 3, 4, 5]]


def test_callers_that_ask_again_and_again_stay_together():
    run = Recorder()

    async def search(batcher: Batcher[int, int], item: int) -> None:
        for _ in range(20):
            for _ in range(item % 3):  # some callers come back later than others
                await asyncio.sleep(0)
            await asyncio.gather(batcher.submit(item), batcher.submit(-item))

    async def main() -> None:
        batcher = Batcher(run, 1000)
        await asyncio.gather(*(search(batcher, i) for i in range(50)))

    asyncio.run(main())
    assert len(run.batches) == 20
    assert {len(batch) for batch in run.batches} == {100}


def test_a_cancelled_caller_is_skipped_and_the_others_are_answered():
    run = Recorder(pause_s=0.02)

    async def main() -> list[object]:
        batcher = Batcher(run, 2)
        tasks = [asyncio.ensure_future(batcher.submit(i)) for i in range(5)]
        while not run.batches:
            await asyncio.sleep(0.001)
        tasks[0].cancel()  # its batch is running
        tasks[3].cancel()  # still waiting
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[3], asyncio.CancelledError)
    assert [results[1], results[2], results[4]] == [2, 4, 8]
    assert run.batches == [[0, 1], [2, 4]]


def test_a_failure_reaches_every_caller_of_its_batch_only():
    def run(items: list[int]) -> list[int]:
        if 1 in items:
            raise ValueError("one")
        return items

    async def main() -> list[object]:
        batcher = Batcher(run, 2)
        return await asyncio.gather(*(batcher.submit(i) for i in range(4)), return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result) for result in results[:2]] == [ValueError, ValueError]
    assert results[2:] == [2, 3]


def test_a_wrong_number_of_results_is_an_error_not_a_hang():
    def run(items: list[int]) -> list[int]:
        return items[1:]

    with pytest.raises(RuntimeError, match="1 results for a batch of 2"):
        asyncio.run(asyncio.wait_for(gathered(Batcher(run, 8), range(2)), 5))


def test_it_serves_several_event_loops_one_after_another():
    run = Recorder()
    batcher = Batcher(run, 64)
    for _ in range(3):
        assert asyncio.run(gathered(batcher, range(3))) == [0, 2, 4]
    assert len(run.batches) == 3


def test_a_loop_that_dies_with_items_waiting_does_not_harm_the_next():
    run = Recorder(pause_s=0.05)
    batcher = Batcher(run, 1)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gathered(batcher, range(5)), 0.01)

    asyncio.run(give_up())
    assert asyncio.run(gathered(batcher, range(10, 12))) == [20, 22]
    assert run.batches[-2:] == [[10], [11]]


def test_a_loop_that_is_abandoned_does_not_block_the_next():
    run = Recorder(pause_s=0.02)
    batcher = Batcher(run, 1)

    async def leave_behind() -> None:
        asyncio.current_task().get_loop().set_exception_handler(lambda *_: None)
        abandoned.append(asyncio.ensure_future(gathered(batcher, range(3))))
        await asyncio.sleep(0.01)

    abandoned: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_behind())
    loop.close()
    assert asyncio.run(asyncio.wait_for(gathered(batcher, range(10, 12)), 5)) == [20, 22]


def test_close_cancels_the_waiting_lets_the_running_end_and_frees_the_thread():
    run = Recorder(pause_s=0.05)
    before = threading.active_count()

    async def main() -> list[object]:
        batcher = Batcher(run, 1)
        tasks = [asyncio.ensure_future(batcher.submit(i)) for i in range(3)]
        while not run.batches:
            await asyncio.sleep(0.001)
        await batcher.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert threading.active_count() == before
        assert await batcher.submit(7) == 14  # usable again
        await batcher.close()
        return results

    first, *rest = asyncio.run(main())
    assert first == 0
    assert all(isinstance(result, asyncio.CancelledError) for result in rest)
    assert run.batches == [[0], [7]]
