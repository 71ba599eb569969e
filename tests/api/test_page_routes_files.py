"""The storefront's files: no other servers, no inline code, the colours of the palette."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.plots import palette
from helpers.settings import PROJECT

FOLDER = PROJECT / "helpers" / "api" / "storefront"
FILES = sorted(FOLDER.iterdir())


def test_colours_match_the_palette() -> None:
    style = (FOLDER / "style.css").read_text("utf-8")
    light = style.partition("@media")[0]
    for name, colour in (
        ("postgresql", palette.POSTGRES),
        ("mongodb", palette.MONGO),
        ("redis", palette.REDIS),
        ("ink", palette.INK),
        ("paper", palette.PAPER),
    ):
        assert f"--{name}: {colour.lower()};" in light


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_loaded_from_other_servers(file: Path) -> None:
    text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"(https?:)?//[a-z]", text.replace("</", ""))
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_has_no_inline_script_and_no_inline_style() -> None:
    page = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert "<style" not in page
    assert not re.search(r"\s(style|on[a-z]+)=", page)


def test_every_file_is_used_and_every_used_file_exists() -> None:
    named = {"index.html"}
    for file in FILES:
        text = file.read_text("utf-8")
        named |= set(re.findall(r'(?:"/storefront/|from "\./)([a-z.]+)"', text))
    assert named == {file.name for file in FILES}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.js")), ids=lambda file: file.name)
def test_text_never_becomes_markup(file: Path) -> None:
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    )
    assert not re.search(sinks, file.read_text("utf-8"))
