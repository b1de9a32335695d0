"""For admins: what was done that only admins may do."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.crud import audit
from app.routers.audit import MOST
from app.routers.dependencies import Db
from app.web.admin_words import act_of, position
from app.web.pages import render
from app.web.sessions import Admin, only_own_forms

router = APIRouter(prefix="/admin/audit", include_in_schema=False, dependencies=[Depends(only_own_forms)])
AT_ONCE = 50


@router.get("")
def acts(request: Request, _admin: Admin, db: Db, before: str = "") -> Response:
    start = position(before, MOST)
    found = audit.newest(db, AT_ONCE + 1, start)
    return render(
        request,
        "admin_audit.html",
        entries=found[:AT_ONCE],
        older=found[AT_ONCE - 1].id if len(found) > AT_ONCE else None,
        is_newest=start is None,
        act_of=act_of,
    )
