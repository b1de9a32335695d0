"""The front door: a page for browsers, a welcome for everything else."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, JSONResponse, Response

from app.core.accepted import weight
from app.core.headers import own_page

router = APIRouter()

WELCOME = {"message": "Welcome to StudySmart AI API", "version": "1.0.0", "docs": "/docs"}
PAGE = (Path(__file__).parent / "home.html").read_text()
PAGE_HEADERS = {"Vary": "Accept", **own_page(PAGE)}


@router.get("/", summary="Welcome")
async def home(accept: Annotated[str, Header()] = "*/*") -> Response:
    """Says what this is: in JSON, or as a page to those who prefer HTML."""
    if prefers_html(accept):
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)
    return JSONResponse(WELCOME, headers={"Vary": "Accept"})


def prefers_html(accept: str) -> bool:
    """Whether text/html is asked for by name, and not less than JSON (RFC 9110, section 12.5.1)."""
    html = max(weight(accept, "text/html"), weight(accept, "application/xhtml+xml"))
    return html > 0 and html >= weight(accept, "application/json")
