"""``/api/products`` and ``/api/facets``: read products, and set the stock of a product.

The query models refuse whatever they do not know. A misspelt filter that was ignored would return
every product.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from helpers import joins
from helpers.api.cursors import CURSOR_PATTERN, decode, encode
from helpers.api.openapi import READ_ERRORS, SPECIFICATIONS, WRITE_ERRORS, problems, read_responses
from helpers.api.problems import unknown_id
from helpers.api.responses import json_response
from helpers.api.schemas import (
    FacetsOut,
    NoParameters,
    PathId,
    ProductOut,
    StockIn,
    StockOut,
    whole_number,
)
from helpers.api.service import TOKEN, ServiceOfApp
from helpers.catalog.categories import LABEL_CHARACTERS, MAX_LABEL_LENGTH
from helpers.errors import MetadataError, QueryError
from helpers.joins.pages import MAX_PAGE_SIZE
from helpers.metadata.filters import Between

_PREFIX = "spec."
_ID = "[1-9][0-9]{0,14}"
_CATEGORY = "".join(rf"\p{{{name}}}" for name in LABEL_CHARACTERS)
_CATEGORY = f"^[{_CATEGORY}]{{1,{MAX_LABEL_LENGTH}}}$"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?(e[+-]?[0-9]{1,3})?", re.ASCII)
_BOOLEANS: dict[object, bool] = {"true": True, "false": False, True: True, False: False}


def _boolean(text: object) -> bool:
    if text not in _BOOLEANS:
        raise PydanticCustomError("true_or_false", "Input should be true or false")
    return _BOOLEANS[text]


def _ids(texts: list[str]) -> list[object]:
    """Return the ids in ``1,2,3``. FastAPI passes it in a list, since the field is a list."""
    (text,) = texts
    return [whole_number(number) for number in text.split(",")] if text else []


class FacetParameters(BaseModel):
    """Filters by category, tags and specifications (``spec.<name>``)."""

    # Names of specifications are free, so they are extra fields: ``_refuse_unknown`` checks them.
    model_config = ConfigDict(extra="allow")

    category: Annotated[
        Annotated[str, Field(pattern=_CATEGORY)] | SkipJsonSchema[None],
        Field(
            description="Products of this category, which PostgreSQL stores.",
            examples=["laptop"],
        ),
    ] = None
    tag: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_LABEL_LENGTH)]],
        Field(
            max_length=20,
            description="Products with this tag in MongoDB; repeat it for products with all of "
            "several tags.",
            examples=[["gift"]],
        ),
    ] = []

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: dict[str, Any]) -> dict[str, Any]:
        known = {field.alias or name for name, field in cls.model_fields.items()}
        for name in values:
            if name not in known and not name.startswith(_PREFIX):
                names = ", ".join([*sorted(known), f"{_PREFIX}<name>"])
                reason = f"has the unknown parameter {name[:40]!r}"
                raise QueryError("the query", reason, f"Known are {names}")
        return values

    def query(self, **more: Any) -> joins.Query:
        """Return the query for the stores. Raises ``QueryError`` if a filter is invalid."""
        specifications = {
            name.removeprefix(_PREFIX): specification_value(name, text)
            for name, text in (self.model_extra or {}).items()
        }
        try:
            return joins.Query(
                category=self.category, tags=self.tag, specifications=specifications, **more
            )
        except MetadataError as error:
            field = error.field.replace("specifications", "spec").replace("tags", "tag")
            raise QueryError(field, error.reason, error.way_out) from None


class FacetSearch(FacetParameters):
    """Filters, and which values to count."""

    find: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL_LENGTH)] | SkipJsonSchema[None],
        Field(
            description="Only values that contain this text, in upper or lower case. Use it where "
            "a list has more values than are returned.",
            examples=["lap"],
        ),
    ] = None


class PageParameters(FacetParameters):
    """Filters, and which page of the products that meet them."""

    ids: Annotated[
        list[int] | SkipJsonSchema[None],
        BeforeValidator(_ids),
        Field(description=f"Products with these ids, at most {MAX_PAGE_SIZE}.", examples=["1,2,3"]),
        WithJsonSchema(
            {"type": "string", "pattern": f"^({_ID}(,{_ID}){{0,{MAX_PAGE_SIZE - 1}}})?$"}
        ),
    ] = None
    in_stock: Annotated[
        bool,
        BeforeValidator(_boolean),
        Field(description="With `true`, products that have units available in Redis."),
    ] = False
    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE_SIZE, description="The largest number of products on a page."),
        BeforeValidator(whole_number),
    ] = 24
    after: Annotated[
        int | SkipJsonSchema[None],
        BeforeValidator(decode),
        Field(
            alias="cursor",
            description="Where the page begins: copy it from the `Link` of the page before.",
        ),
        WithJsonSchema({"type": "string", "pattern": CURSOR_PATTERN}),
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether the request has no parameters."""
        return not self.model_fields_set and not self.model_extra

    def query(self, **more: Any) -> joins.Query:
        """Return the query for the stores. Raises ``QueryError`` if a filter is invalid."""
        page = {"ids": self.ids, "in_stock": self.in_stock, "after": self.after}
        return super().query(**page, limit=self.limit, **more)


def specification_value(name: str, text: str) -> object:
    """Return the value that ``spec.<name>=text`` filters by.

    That is a number, ``true`` or ``false``, a range of numbers such as ``8..32``, ``8..`` or
    ``..32``, or else a string. Quotation marks make any value a string: ``"16"``.

    Raises ``QueryError`` if there is no value.
    """
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NUMBER.fullmatch(text):
        return _number(text)
    low, dots, high = text.partition("..")
    if dots and (low or high) and all(_NUMBER.fullmatch(end) for end in (low, high) if end):
        return Between(*(_number(end) if end else None for end in (low, high)))
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise QueryError(name[:60], "has no value", "Give one, or leave it out")
    return text


def _number(text: str) -> int | float:
    return float(text) if "." in text or "e" in text else int(text)


ProductId = Annotated[PathId, Path(description="The product's id.", examples=[1])]

router = APIRouter(prefix="/api", tags=["products"])


@router.get(
    "/products",
    summary="List products, joined from three stores",
    response_model=list[ProductOut],
    responses=read_responses(*READ_ERRORS, pages=True, stale=True),
    openapi_extra=SPECIFICATIONS,
)
async def list_products(
    request: Request, service: ServiceOfApp, parameters: Annotated[PageParameters, Query()]
) -> Response:
    """Return all products, or with parameters one page of those that meet all of them."""
    if parameters.is_empty:
        return await json_response(request, await service.all_products())
    result = await service.products.page(parameters.query())
    return await json_response(request, result, headers=_link(request, result.next))


@router.get(
    "/products/{product_id}",
    summary="Show one product",
    response_model=ProductOut,
    responses=read_responses(*READ_ERRORS, "unknown-product", stale=True),
)
async def show_product(
    request: Request,
    service: ServiceOfApp,
    product_id: ProductId,
    _: Annotated[NoParameters, Query()],
) -> Response:
    """Return one product in the form that it has in the list."""
    result = await service.product(product_id)
    if result is None:
        raise unknown_id("product_id", product_id)
    return await json_response(request, result)


@router.put(
    "/products/{product_id}/stock",
    summary="Set the units on hand",
    response_model=StockOut,
    responses=problems(*WRITE_ERRORS, "unknown-product"),
    dependencies=[TOKEN],
)
async def set_stock(service: ServiceOfApp, product_id: ProductId, stock: StockIn) -> object:
    """Record in the ledger how many units are on hand.

    `stock` in the response is what can be bought: the units on hand without the reserved ones.
    Repeating the request changes nothing.
    """
    setting = partial(service.stock.set_on_hand, product_id, stock.on_hand)
    available = await service.run_blocking(setting, "PostgreSQL", "Redis", product_ids=[product_id])
    return StockOut(id=product_id, on_hand=stock.on_hand, stock=str(available))


@router.get(
    "/facets",
    summary="Count categories, tags and specifications",
    response_model=FacetsOut,
    responses=read_responses("bad-parameter"),
    openapi_extra=SPECIFICATIONS,
)
async def list_facets(
    request: Request, service: ServiceOfApp, parameters: Annotated[FacetSearch, Query()]
) -> Response:
    """Return the values to filter by and their number of products, the most frequent first.

    Of tags and of each specification, these are at most 30; `find` searches among all.
    Categories count the products that meet the other filters; tags and specifications count those
    that meet all filters.
    """
    return await json_response(
        request, await service.products.facets(parameters.query(), parameters.find)
    )


def _link(request: Request, after: int | None) -> dict[str, str]:
    """Return the header with the address of the next page; none after the last page."""
    if after is None:
        return {}
    kept = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
    # Relative and percent-encoded, so that nothing of the request gets into the header as it is.
    query = urlencode([*kept, ("cursor", encode(after))])
    return {"Link": f'</api/products?{query}>; rel="next"'}
