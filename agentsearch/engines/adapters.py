"""LoRA adapters come and go in a running vLLM server, each under its version's name.

    load_adapter("http://127.0.0.1:8000/v1", "policy@0007", Path("rounds/7/adapter"))
    engine = OpenAIEngine("policy@0007", "http://127.0.0.1:8000/v1")
    ...
    unload_adapter("http://127.0.0.1:8000/v1", "policy@0006")

A name is never given to other weights: the server's prefix cache knows adapters by name, and
would answer from the old ones.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentsearch.engines.http import excerpt
from agentsearch.errors import ConfigError, EngineError

LOAD_S = 600.0
"""Longest that a server takes to load an adapter or to say what it has."""
LOOK_EVERY_S = 0.2
RUNNING = re.compile(
    r'^vllm:lora_requests_info\{.*?running_lora_adapters="(.*?)"'
    r'.*?waiting_lora_adapters="(.*?)".*?\} (\S+)$',
    re.MULTILINE,
)
"""A line of /metrics: adapters with requests, and when that was so."""


def load_adapter(address: str, name: str, folder: Path, *, key_env: str = "OPENAI_API_KEY") -> None:
    """Have a server offer an adapter as a model of that name, beside those it has.

    What it has already under that name and from that folder is left as it is.

    Args:
        address: as the openai engine's `base_url`; with commas between, several servers,
            which all load it.
        name: the version's, such as `policy@0007`.
        folder: where peft saved it; the server must see it under the same path.
        key_env: environment variable with the server's key.

    Raises:
        ConfigError: there is no adapter, the name is taken, or the server loads none.
        EngineError: the server cannot be reached, or failed to load it.
    """
    path = folder.resolve()
    if not (path / "adapter_config.json").is_file():
        raise ConfigError(
            f"{folder}: holds no adapter; give a folder that peft's save_pretrained made."
        )
    for server in _servers(address, key_env):
        has = server.models()
        if name not in has:
            server.post("load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        elif has[name] != str(path):
            raise ConfigError(
                f"{name}: {server.url} has other weights under this name ({has[name]}); "
                "give each version a name of its own."
            )


def unload_adapter(
    address: str, name: str, *, drain_s: float = LOAD_S, key_env: str = "OPENAI_API_KEY"
) -> None:
    """Have a server forget an adapter, once no request uses it any more.

    One that it does not have is no error. Several data-parallel replicas behind one address
    report their requests in turn; let none of yours be under way then.

    Args:
        address: see `load_adapter`.
        name: of the adapter.
        drain_s: longest wait for its requests to end.
        key_env: see `load_adapter`.

    Raises:
        ConfigError: the server loads and unloads no adapters.
        EngineError: it cannot be reached, or its requests did not end.
    """
    for server in _servers(address, key_env):
        if name in server.models():
            _drain(server, name, drain_s)
            server.post("unload_lora_adapter", {"lora_name": name})


def _drain(server: _Server, name: str, drain_s: float) -> None:
    deadline = time.monotonic() + drain_s
    while name in busy(server.get(server.url.removesuffix("/v1") + "/metrics")):
        if time.monotonic() > deadline:
            raise EngineError(
                f"{server.url} still has requests for {name} after {drain_s:g} s; "
                "end the runs that make them, then unload it."
            )
        time.sleep(LOOK_EVERY_S)


def busy(metrics: str) -> set[str]:
    """The adapters with running or waiting requests, by a server's /metrics.

    Each combination that was ever seen has a line, whose number says when.
    """
    lines = RUNNING.findall(metrics)
    if not lines:
        return set()
    running, waiting, _ = max(lines, key=lambda line: float(line[2]))
    return {name for name in f"{running},{waiting}".split(",") if name}


class _Server:
    """One server of an address."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url, self._key = url, key

    def models(self) -> dict[str, str]:
        """The names it offers, and where the weights of each came from."""
        try:
            data: list[dict[str, Any]] = json.loads(self.get(f"{self.url}/models"))["data"]
            return {str(each["id"]): str(each.get("root")) for each in data}
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise EngineError(f"{self.url} lists no models; is it a vLLM server?") from cause

    def get(self, url: str) -> str:
        """The text of a page."""
        return self._ask(urllib.request.Request(url))

    def post(self, path: str, body: Mapping[str, str]) -> None:
        """Have the server do something with an adapter."""
        kind = {"Content-Type": "application/json"}
        self._ask(urllib.request.Request(f"{self.url}/{path}", json.dumps(body).encode(), kind))

    def _ask(self, request: urllib.request.Request) -> str:
        request.add_header("Authorization", f"Bearer {self._key or 'none'}")
        try:
            with urllib.request.urlopen(request, timeout=LOAD_S) as reply:
                return reply.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as refusal:
            said = _said(refusal.read())
            if self._key:
                said = said.replace(self._key, "***")
            if refusal.code == 404 and request.full_url.endswith("_lora_adapter"):
                raise ConfigError(
                    f"{self.url} loads no adapters while it runs (HTTP 404: {said}); start it by "
                    "`agentsearch serve`, or with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
                ) from None
            raise EngineError(f"{request.full_url} answered HTTP {refusal.code}: {said}") from None
        except OSError as cause:
            raise EngineError(
                f"{self.url} cannot be reached ({cause}); check that the server runs."
            ) from cause


def _servers(address: str, key_env: str) -> list[_Server]:
    urls = dict.fromkeys(url.strip().rstrip("/") for url in address.split(","))
    return [_Server(url, os.environ.get(key_env)) for url in urls if url]


def _said(raw: bytes) -> str:
    """What a server gave as its reason."""
    try:
        return excerpt(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return excerpt(raw.decode("utf-8", "replace"))
