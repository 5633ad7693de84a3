"""WebShop: shopping for what an instruction asks, in a catalogue of products."""

from agentsearch_envs.webshop.environment import WebShop

__all__ = ["WebShop"]
