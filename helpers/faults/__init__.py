"""Fault injection: stop, kill, freeze and restart servers; crash a process at a step."""

from helpers.faults.crashes import crashing
from helpers.faults.dual_write import count_sale, write_order
from helpers.faults.fault_injection import FaultInjection, inject_faults, temporary_shop
from helpers.faults.inconsistencies import count_inconsistencies

__all__ = [
    "FaultInjection",
    "count_inconsistencies",
    "count_sale",
    "crashing",
    "inject_faults",
    "temporary_shop",
    "write_order",
]
