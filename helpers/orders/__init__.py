"""Orders: a saga over three stores, with idempotency keys and a transactional outbox."""

from helpers.orders.order_states import state_of
from helpers.orders.orders import Orders

__all__ = ["Orders", "state_of"]
