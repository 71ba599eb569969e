"""The shop over HTTP: ``GET /api/products`` as the original answered it, and what it lacked.

A request comes in through ``protocol`` (deadlines of slow clients), ``envelope`` (its id, its time,
its line in the log), ``guard`` (the token for writes, the size of bodies) and ``deadline`` to its
route in ``products``, ``orders`` or ``health``; ``parameters`` makes a query of it; ``catalog``
joins the three stores and shares what is asked for by many, ``view_service`` has the views;
``answers`` turns what came into a response. ``problems`` says what was wrong. ``service`` is what
all of this stands on.
"""
