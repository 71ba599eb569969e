"""Orders: a saga over three stores, with idempotency keys and a transactional outbox."""

from helpers.orders.orders import Orders
from helpers.orders.saga import state_of

__all__ = ["Orders", "state_of"]
