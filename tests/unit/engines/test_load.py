"""What is read from a vLLM server's page of metrics."""

import pytest

from agentsearch.engines.load import Load, Traffic, read_load, together

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 30.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 7.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.0625
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 1.5e+06
vllm:prefix_cache_queries_created{engine="0",model_name="tiny"} 1.7900e+09
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 900000.0
process_cpu_seconds_total 12.5
"""


def test_engines_of_a_server_are_added_and_the_fullest_counts():
    expected = Load(running=32, waiting=7, cache_use=0.5, looked_up=1.5e6, hits=9e5)
    assert read_load(PAGE) == expected


@pytest.mark.parametrize("page", ["", "process_cpu_seconds_total 12.5", "<html>vllm</html>"])
def test_the_page_of_another_program_is_no_load(page):
    assert read_load(page) is None


def test_a_server_that_two_engines_share_counts_once():
    load = Load(running=5.0)
    one = Traffic(3, 1, 10, 2.0, 0.5, {"a": load})
    other = Traffic(2, 0, 4, 1.0, 0.0, {"a": load, "b": load})
    assert together([one, other]) == Traffic(5, 1, 14, 3.0, 0.5, {"a": load, "b": load})
    assert together([]) == Traffic()
