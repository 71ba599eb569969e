"""The shop: its catalogue, how it is seeded, and the join of its three stores.

Nothing in here knows Jupyter, matplotlib or a web framework.
"""
