"""Fault injection: stop, kill, freeze and restart servers, and crash a process at a step."""

from helpers.faults.anomalies import count_anomalies
from helpers.faults.crashes import crashing
from helpers.faults.dual_write import count_sale, write_order
from helpers.faults.fault_injection import Drills, practice
from helpers.faults.temporary_shop import practice_shop

__all__ = [
    "Drills",
    "count_anomalies",
    "count_sale",
    "crashing",
    "practice",
    "practice_shop",
    "write_order",
]
