"""The token that writes need, for OpenAPI. ``guard`` is who looks at it."""

from __future__ import annotations

from fastapi import Depends
from fastapi.security import HTTPBearer

#: Declares that a route needs the token.
TOKEN = Depends(
    HTTPBearer(auto_error=False, scheme_name="token", description="Printed at the start.")
)
