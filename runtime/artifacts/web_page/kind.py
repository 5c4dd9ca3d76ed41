"""The artifact kind of web pages."""

from __future__ import annotations

from runtime.artifacts.web_page.page import read_card_text
from runtime.core.model.artifacts import Kind

KINDS = (
    Kind(
        "web",
        ".html",
        read_card_text,
        instead="open it in a browser, and drop a recording on it (docs/web.md)",
        contents="runtime.artifacts.web_page.page:read_contents",
        program="runtime.artifacts.web_page.page:read_program",
    ),
)
