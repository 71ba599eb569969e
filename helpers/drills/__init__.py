"""Drills: what a shop does when its servers fail, tried on the servers themselves."""

from helpers.drills.ground import practice_shop
from helpers.drills.practice import Drills, practice

__all__ = ["Drills", "practice", "practice_shop"]
