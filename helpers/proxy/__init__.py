"""The network between a driver and its store: slowed, frozen and cut in one place."""

from helpers.proxy.tcp_proxy import ProxyState, TcpProxy

__all__ = ["ProxyState", "TcpProxy"]
