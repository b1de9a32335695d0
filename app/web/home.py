"""The front door: a page for browsers, a welcome for everything else."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import HTMLResponse, JSONResponse, Response

router = APIRouter()

WELCOME = {"message": "Welcome to StudySmart AI API", "version": "1.0.0", "docs": "/docs"}
PAGE = (Path(__file__).parent / "home.html").read_text()


@router.get("/", summary="Welcome")
async def home(accept: Annotated[str, Header()] = "*/*") -> Response:
    """Says what this is: in JSON, or as a page to those who prefer HTML."""
    if prefers_html(accept):
        return HTMLResponse(PAGE, headers={"Vary": "Accept"})
    return JSONResponse(WELCOME, headers={"Vary": "Accept"})


def prefers_html(accept: str) -> bool:
    """Whether text/html is asked for by name, and not less than JSON (RFC 9110, section 12.5.1)."""
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        weights[kind] = float(quality) if quality.isascii() and quality.replace(".", "", 1).isdigit() else 0.0
    html = max(weights.get("text/html", 0.0), weights.get("application/xhtml+xml", 0.0))
    return html > 0 and html >= weights.get("application/json", 0.0)
