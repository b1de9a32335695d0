"""A person's data from the settings: taken along as a file, and erased with the account."""

from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Depends, Form, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from app.crud import erasures
from app.crud.browser_sessions import Visitor
from app.routers.dependencies import Db, Serving, TheTrainer
from app.routers.people import download, erase_now
from app.web.own_password import wrong_password
from app.web.pages import go_to, render
from app.web.sessions import SignedIn, forget, only_own_forms

router = APIRouter(prefix="/dashboard/settings", include_in_schema=False, dependencies=[Depends(only_own_forms)])


@router.get("/export")
def export(visitor: SignedIn, db: Db, serving: Serving, format: Literal["json", "csv"] = "json") -> Response:
    """What `GET /users/me/export` gives for a token, for the browser's session."""
    return download(db, serving, visitor.id, format)


@router.get("/delete")
def ask_first(request: Request, visitor: SignedIn, db: Db) -> Response:
    """What goes, and that it is for good."""
    return _page(request, db, visitor)


def _page(request: Request, db: Session, visitor: Visitor, status: int = 200, wrong: str | None = None) -> Response:
    return render(request, "settings_delete.html", status, wrong=wrong, found=erasures.find(db, visitor.id))


@router.post("/delete")
def delete(
    request: Request, visitor: SignedIn, db: Db, serving: Serving, trainer: TheTrainer, background: BackgroundTasks,
    password: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """Erase everything and the account, as `DELETE /users/me` does."""
    if refused := wrong_password(request, db, visitor, password):
        return refused.on(_page(request, db, visitor, refused.status, refused.text))
    erase_now(visitor.id, db, serving, trainer, background)
    answer = go_to(request, "/", erased=1)
    forget(request, answer)
    return answer
