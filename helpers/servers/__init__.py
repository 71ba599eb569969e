"""The course's own servers, from wheels: PostgreSQL nodes, documents, keys and values."""

from helpers.servers.embedded import EmbeddedServers

__all__ = ["EmbeddedServers"]
