"""The course's own servers, from wheels: PostgreSQL nodes, documents, keys and values."""

from helpers.embedded.embedded_servers import EmbeddedServers

__all__ = ["EmbeddedServers"]
