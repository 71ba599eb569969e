"""What a buyer does with the stock: reserve, then confirm, release, or walk away."""

from __future__ import annotations

from helpers.errors import ReservationError, SoldOutError
from helpers.lab.buyers import PurchaseAttempt
from helpers.lab.concurrent_buyers import Act
from helpers.stock.reservations import new_token
from helpers.stock.stock import Stock


def buying(stock: Stock, *, hold_seconds: float | None = None) -> Act[str]:
    """Return what carries out an attempt to buy, for ``run_buyers``.

    It answers ``"confirmed"``, ``"released"`` or ``"abandoned"``, as the buyer wanted; or
    ``"sold out"``, or the state in which the reservation was found when it could not be confirmed.

    Where ``stock.redis`` tries again after a lost connection, so does the buyer, under the same
    token: nothing is reserved twice.
    """

    def buy(attempt: PurchaseAttempt) -> str:
        items = {attempt.product_id: attempt.quantity}
        try:
            reservation = stock.reserve(items, token=new_token(), hold_seconds=hold_seconds)
        except SoldOutError:
            return "sold out"
        if attempt.ending == "abandon":
            return "abandoned"
        try:
            if attempt.ending == "release":
                stock.release(reservation)
                return "released"
            stock.confirm(reservation)
        except ReservationError as error:
            return error.state
        return "confirmed"

    return buy
