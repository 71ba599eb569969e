"""A TCP proxy between a driver and its store, which can delay, freeze and cut connections."""

from helpers.proxy.tcp_proxy import ProxyState, TcpProxy

__all__ = ["ProxyState", "TcpProxy"]
