"""The embedded servers, from wheels: PostgreSQL nodes, a document and a key-value server."""

from helpers.embedded.embedded_servers import EmbeddedServers

__all__ = ["EmbeddedServers"]
