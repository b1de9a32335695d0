"""Which schools a student lets record tasks in their account."""

from uuid import UUID

from fastapi import APIRouter, Response

from app.crud import allowed_schools
from app.routers.dependencies import Db, OnceForCaller
from app.routers.people import Student
from app.schemas.problem import problems
from app.schemas.schools import AllowedSchoolOut, SchoolNamed

router = APIRouter(prefix="/users/me/schools", tags=["A person's data"], route_class=OnceForCaller)


@router.get("", responses=problems(401, 403))
def list_allowed_schools(student: Student, db: Db) -> list[AllowedSchoolOut]:
    """The schools whose programs may record tasks in your account."""
    return [AllowedSchoolOut.model_validate(each) for each in allowed_schools.listed(db, student)]


@router.post("", status_code=201, responses=problems(400, 401, 403, 404, 413, 422))
def allow_school(student: Student, db: Db, school: SchoolNamed) -> AllowedSchoolOut:
    """Let a school's program record tasks in your account and see what it recorded; again is fine.

    The name is that of the school's service key: ask your school for it.
    """
    return AllowedSchoolOut.model_validate(allowed_schools.allow(db, student, school.name))


@router.delete("/{school_id}", status_code=204, response_class=Response, responses=problems(401, 403, 404, 422))
def revoke_school(school_id: UUID, student: Student, db: Db) -> None:
    """Let a school record and see nothing more in your account; what it recorded stays."""
    allowed_schools.revoke(db, student, school_id)
