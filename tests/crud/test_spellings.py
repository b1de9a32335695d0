"""Topics and exercises are one however they are coded, spaced and capitalised; the first spelling shows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from io import StringIO
from typing import Any
from unicodedata import normalize

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.settings import settings
from app.crud import imports, spellings, topics
from app.domain.actors import COMMAND_LINE
from app.domain.characters import tidy
from app.domain.interactions import Interactions
from app.ml.embedding_service import EmbeddingModelService
from tests.school import PASSWORD, SOMEBODY, Student

HEADER = "student_id,item_id,topic,difficulty,correct,time_seconds,timestamp\n"


def bring(db: Session, *rows: str) -> int:
    added = imports.add(db, Interactions(StringIO(HEADER + "\n".join(rows) + "\n"), spellings=spellings.every(db)))
    db.commit()
    return added


def values(db: Session, column: str) -> set[str]:
    return set(db.scalars(text(f"SELECT DISTINCT {column} FROM practice_tasks WHERE {column} IS NOT NULL")))


def plan(who: Student, *named: str) -> Any:
    day = (date.today() + timedelta(days=9)).isoformat()
    body = {"exam_date": day, "topics": list(named), "minutes_per_day": 30}
    return who.client.post("/preparation/plans", json=body, headers=who.headers).json()


def test_the_first_spelling_shows_whoever_writes_another(db: Session, student: Callable[..., Student]) -> None:
    ada, ben = student("ada"), student("ben")
    assert ada.do(topic="Linear  Algebra", item_id="Ex 1")["topic"] == "Linear Algebra"
    for spelling in ("linear algebra", "LINEAR\u00a0ALGEBRA", " Linear Algebra "):
        task = ben.do(topic=spelling, item_id="ex 1")
        assert (task["topic"], task["item_id"]) == ("Linear Algebra", "Ex 1")
        assert len(ben.get("/practice-tasks", topic=spelling).json()["items"]) >= 1
    totals = db.execute(
        text("SELECT scope, key, n FROM student_totals WHERE scope IN ('topic', 'item') ORDER BY n, scope")
    )
    assert [tuple(row) for row in totals] == [
        *(("item", "Ex 1", 1), ("topic", "Linear Algebra", 1), ("item", "Ex 1", 3), ("topic", "Linear Algebra", 3))
    ]
    found = ben.get("/recommendations", topic=["LINEAR algebra", "linear algebra"]).json()["items"]
    assert {each["topic"] for each in found} == {"Linear Algebra"}


def test_the_prediction_is_the_same_for_every_spelling(student: Callable[..., Student]) -> None:
    ada = student()
    for right in (True, False, True, True):
        ada.do(right, topic="Géométrie")
    asked = [ada.ask(each).json() for each in ("Géométrie", "géométrie", normalize("NFD", "GÉOMÉTRIE"))]
    assert {each["topic"] for each in asked} == {"Géométrie"}
    assert asked[1]["correctness_prob"] == pytest.approx(asked[0]["correctness_prob"], abs=1e-6)
    assert asked[2]["estimated_time_seconds"] == pytest.approx(asked[0]["estimated_time_seconds"], rel=1e-6)


def spelt_otherwise(name: str) -> st.SearchStrategy[str]:
    ways = [str.upper, str.lower, str.title, str.casefold, lambda each: normalize("NFD", each)]
    return st.tuples(st.sampled_from(ways), st.sampled_from([" ", "  ", "\u00a0", "\u2003 "])).map(
        lambda how: how[0](name).replace(" ", how[1])
    )


@pytest.mark.parametrize("name", ["Größe der Zahl", "Lineáris algebra", "ΣΊΣΥΦΟΣ και λίθος", "Ǆ ﬁ ŉ"])
@hypothesis.settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_spellings_of_one_text_are_one_by_every_way_in(
    db: Session, student: Callable[..., Student], name: str, data: st.DataObject
) -> None:
    db.execute(text("TRUNCATE practice_tasks, exam_plans, spellings, users CASCADE"))
    db.commit()
    ada = student()
    ways: list[Callable[[str], object]] = [
        lambda each: ada.do(topic=each, item_id=each),
        lambda each: plan(ada, each),
        lambda each: bring(db, f'st0,"{each}","{each}",easy,1,12,1760000000'),
        lambda each: EmbeddingModelService(db).predict_and_save(SOMEBODY, each, "easy", each),
    ]
    written = [data.draw(spelt_otherwise(name)) for _ in ways]
    for way, each in zip(data.draw(st.permutations(ways)), written, strict=True):
        way(each)
    assert values(db, "topic") == {tidy(written[0])}
    assert len(values(db, "item_id")) == 1
    assert ada.get("/preparation/plans").json()["items"][0]["topics"] == [tidy(written[0])]


def test_of_many_who_write_a_new_topic_at_once_one_is_the_first(db: Session, student: Callable[..., Student]) -> None:
    ada = student()
    for word in ("waves", "optics", "heat"):
        spelt = [word.upper(), word.title(), word, f" {word}", word.swapcase(), word.capitalize()]
        with ThreadPoolExecutor(6) as together:
            asked = list(together.map(lambda each: ada.ask(each, item_id=each).json(), spelt))
        assert len({(each["topic"], each["item_id"]) for each in asked}) == 1


def test_a_topic_that_is_known_is_no_further_one(
    monkeypatch: pytest.MonkeyPatch, student: Callable[..., Student]
) -> None:
    ada = student()
    monkeypatch.setattr(settings(), "max_topics", 2)
    assert [ada.ask(each).status_code for each in ("a", "b", "A", "c", "B ")] == [201, 201, 201, 409, 201]


def test_whoever_writes_the_old_name_is_led_to_the_new_one(db: Session, student: Callable[..., Student]) -> None:
    ada = student()
    for name in ("calculs", "Calculus", "Waves"):
        ada.do(topic=name)
    topics.merge(db, "CALCULS", "calculus", COMMAND_LINE)
    topics.rename(db, "waves", "Waves and light", COMMAND_LINE)
    db.commit()
    asked = [ada.ask(each).json()["topic"] for each in ("Calculs", "calculus", "WAVES", "waves and  Light")]
    assert asked == ["Calculus", "Calculus", "Waves and light", "Waves and light"]
    topics.rename(db, "Waves and light", "waves", COMMAND_LINE)  # and back, in small letters
    db.commit()
    assert [ada.ask(each).json()["topic"] for each in ("Waves", "Waves and Light")] == ["waves", "waves"]
    assert plan(ada, "WAVES", "Waves and light", "calculs")["topics"] == ["waves", "Calculus"]


def test_a_file_in_other_letters_brings_nothing_new_nor_does_the_same_one_after_a_rename(db: Session) -> None:
    rows = [f"st{n % 3},Ex {n % 4},Linear  Algebra,easy,1,12.5,{1760000000 + 60 * n}" for n in range(12)]
    assert bring(db, *rows) == 12
    assert bring(db, *(row.replace("Linear  Algebra", "LINEAR algebra").replace("Ex", "ex") for row in rows)) == 0
    topics.rename(db, "Linear algebra", "Matrices", COMMAND_LINE)
    assert bring(db, *rows) == 0
    assert bring(db, "st9,,linear algebra,easy,1,12.5,1760000000") == 1
    assert values(db, "topic") == {"Matrices"}
    assert values(db, "item_id") == {f"Ex {n}" for n in range(4)}


def test_a_name_that_somebody_writes_during_an_import_is_theirs(db: Session) -> None:
    found = spellings.every(db)
    with new_session().begin() as other:
        EmbeddingModelService(other).predict_and_save(SOMEBODY, "waves", "easy")
    rows = StringIO(HEADER + "st0,,Waves,easy,1,12.5,1760000000\n")
    assert imports.add(db, Interactions(rows, spellings=found)) == 1
    assert values(db, "topic") == {"waves"}
    assert db.scalars(text("SELECT key FROM student_totals WHERE scope = 'topic'")).all() == ["waves"]


def test_what_only_an_erased_student_wrote_is_forgotten(db: Session, student: Callable[..., Student]) -> None:
    ada, ben = student("ada"), student("ben")
    for who, topic in ((ada, "Diary of Ada"), (ada, "waves"), (ben, "Waves"), (ben, "Optics")):
        who.do(topic=topic, item_id=f"{topic} 1")
    ada.ask("Letters of Ada")
    plan(ada, "Dreams of Ada", "waves")
    topics.rename(db, "Diary of Ada", "Notes of Ada", COMMAND_LINE)
    db.commit()
    ada.client.request("DELETE", "/users/me", json={"password": PASSWORD}, headers=ada.headers).raise_for_status()
    left = db.scalars(text("SELECT first FROM spellings")).all()
    assert set(left) == {"waves", "waves 1", "Optics", "Optics 1"}
    assert ben.ask("WAVES").json()["topic"] == "waves"
    assert ben.ask("diary of ada").json()["topic"] == "diary of ada"
