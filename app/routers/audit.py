"""What was done that only admins may do."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.crud import audit
from app.routers.dependencies import Admin, Db
from app.schemas.audit import AuditEntryOut, AuditPage
from app.schemas.problem import problems

router = APIRouter(tags=["Audit"])

MOST = 2**63 - 1


@router.get("/audit", responses=problems(401, 403, 422))
def list_audit_entries(
    _admin: Admin,
    db: Db,
    before: Annotated[int | None, Query(ge=1, le=MOST, description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditPage:
    """Every act of an admin and of the command line, newest first: who, what, when, from where. For admins."""
    found = audit.newest(db, limit + 1, before)
    items = [AuditEntryOut.model_validate(entry) for entry in found[:limit]]
    return AuditPage(items=items, next=items[-1].id if len(found) > limit else None)
