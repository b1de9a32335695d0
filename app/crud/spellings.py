"""What topics and exercises are called. The first spelling shows; all others lead to it, and those from before a
rename or a merge to what it is called now."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Row, Statement
from app.crud.rows import execute
from app.domain.characters import folded
from app.domain.spellings import Kind, Spelling, Spellings
from app.domain.tasks import TaskRequest

AT_ONCE = 50_000  # names
ALL = "SELECT kind, folded, first, name FROM spellings"
KNOWN = Statement("""
    SELECT folded, name FROM spellings WHERE kind = CAST(:kind AS text) AND folded = ANY(CAST(:folded AS text[]))""")
# In the order of the key, so that two who bring the same names wait for each other and don't deadlock. Of two at once
# the second is told the first one's spelling.
REGISTER = Statement("""
    INSERT INTO spellings AS known (kind, folded, first, name)
    SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:folded AS text[]), CAST(:texts AS text[]),
                         CAST(:texts AS text[])) AS written (kind, folded, first, name)
    ORDER BY kind, folded
    ON CONFLICT (kind, folded) DO UPDATE SET name = known.name
    RETURNING kind, folded, name""")
# Of any number at once: without a value for each.
WRITTEN = "CREATE TEMPORARY TABLE written (kind text, folded text, name text) ON COMMIT DROP"
REGISTER_WRITTEN = """
    INSERT INTO spellings (kind, folded, first, name)
    SELECT DISTINCT ON (kind, folded) kind, folded, name, name FROM written ORDER BY kind, folded, ctid
    ON CONFLICT DO NOTHING"""
CALLED_OTHERWISE = """
    SELECT kind, written.name AS written, known.name FROM written JOIN spellings AS known USING (kind, folded)
    WHERE written.name <> known.name"""
RENAMED = "UPDATE spellings SET name = :to WHERE kind = :kind AND name = :name"
LEADS_TO = """
    INSERT INTO spellings (kind, folded, first, name) VALUES (:kind, :folded, :first, :name)
    ON CONFLICT (kind, folded) DO UPDATE SET name = excluded.name"""
# What nobody else's tasks, plans or decisions bear. A moment passes between the first spelling and its task.
FORGET = """
    WITH used AS (
        SELECT scope AS kind, key AS name FROM student_totals WHERE scope IN ('topic', 'item')
        UNION ALL SELECT 'topic', topic FROM practice_tasks WHERE NOT completed
        UNION ALL SELECT 'item', item_id FROM practice_tasks WHERE NOT completed AND item_id IS NOT NULL
        UNION ALL SELECT 'topic', unnest(topics) FROM exam_plans
        UNION ALL SELECT 'topic', name FROM topics
    )
    DELETE FROM spellings AS known
    WHERE (name = ANY(CAST(:gone AS text[])) OR written_at < now() - interval '1 minute')
        AND NOT EXISTS (SELECT FROM used WHERE used.kind = known.kind AND used.name = known.name)"""
OF_STUDENT = """
    SELECT topic FROM practice_tasks WHERE user_id = :student
    UNION SELECT item_id FROM practice_tasks WHERE user_id = :student AND item_id IS NOT NULL
    UNION SELECT unnest(topics) FROM exam_plans WHERE user_id = :student"""
# For `student_totals.PAST`: two look-ups by the primary key.
OF_TASK = """
        (SELECT name FROM spellings WHERE kind = 'topic' AND folded = :topic_folded) AS topic_name,
        (SELECT name FROM spellings WHERE kind = 'item' AND folded = :item_folded) AS item_name"""


def every(db: Session) -> Spellings:
    """Return all that are known."""
    return Spellings((row.kind, row.folded, Spelling(row.first, row.name)) for row in execute(db, ALL))


def called(kind: Kind, texts: Sequence[str]) -> QueryFlow[dict[str, str]]:
    """Find what each of these is called; what nobody has written stays as it is."""
    known = yield from _known(kind, texts)
    firsts = _by_key(texts) | known
    return {text: firsts[folded(text)] for text in texts}


def registered(kind: Kind, texts: Sequence[str]) -> QueryFlow[dict[str, str]]:
    """Find what each of these is called; what nobody has written is called so from now on."""
    known = yield from _known(kind, texts)
    if new := [(kind, text) for key, text in _by_key(texts).items() if key not in known]:
        known |= {key: name for (_, key), name in (yield from _register(new)).items()}
    return {text: known[folded(text)] for text in texts}


def register_all(db: Session, names: Iterable[tuple[Kind, str]]) -> list[tuple[Kind, str, str]]:
    """Let what nobody has written be called so from now on; kind, text and name of what is called otherwise."""
    execute(db, "DROP TABLE IF EXISTS written")
    execute(db, WRITTEN)
    cursor, rest = db.connection().connection.cursor(), iter(names)
    while some := [(kind, folded(name), name) for kind, name in islice(rest, AT_ONCE)]:
        file = io.StringIO()
        csv.writer(file).writerows(some)
        file.seek(0)
        cursor.copy_expert("COPY written FROM STDIN (FORMAT csv, ENCODING 'UTF8')", file)
    execute(db, REGISTER_WRITTEN)
    return [(row.kind, row.written, row.name) for row in execute(db, CALLED_OTHERWISE)]


def of_task(asked: TaskRequest, past: Row) -> TaskRequest:
    """Spell its topic and exercise as they are known; `past` is what PAST says of it."""
    return _spelt(asked, past["topic_name"], past["item_name"])


def with_registered(asked: TaskRequest, past: Row) -> QueryFlow[TaskRequest]:
    """Spell them so, and what nobody has written is called so from now on."""
    new: list[tuple[Kind, str]] = [("topic", asked.topic)] if past["topic_name"] is None else []
    if asked.item_id is not None and past["item_name"] is None:
        new.append(("item", asked.item_id))
    if not new:
        return asked
    found = {kind: name for (kind, _), name in (yield from _register(new)).items()}
    return _spelt(asked, found.get("topic"), found.get("item"))


def are_new(asked: TaskRequest, past: Row) -> bool:
    """Tell whether nobody has written its topic or its exercise."""
    return past["topic_name"] is None or (asked.item_id is not None and past["item_name"] is None)


def registered_tasks(asked: Sequence[TaskRequest]) -> QueryFlow[list[TaskRequest]]:
    """Spell the topics and exercises of these; what nobody has written is called so from now on."""
    topics = yield from registered("topic", [each.topic for each in asked])
    items = yield from registered("item", [each.item_id for each in asked if each.item_id is not None])
    return [_spelt(each, topics[each.topic], items.get(each.item_id or "")) for each in asked]


def rename(db: Session, kind: Kind, name: str, to: str) -> None:
    """Let whatever led to this name lead to another from now on."""
    execute(db, RENAMED, kind=kind, name=name, to=to)
    for text in (name, to):
        execute(db, LEADS_TO, kind=kind, folded=folded(text), first=text, name=to)


def of_student(db: Session, student: UUID) -> list[str]:
    """What their topics and exercises are called."""
    return list(execute(db, OF_STUDENT, student=student).scalars())


def forget_unused(db: Session, gone: Sequence[str] = ()) -> None:
    """Forget what nobody's tasks and plans are called any more: of `gone` at once, else what is no longer new."""
    execute(db, FORGET, gone=list(gone))


def _spelt(asked: TaskRequest, topic: str | None, item: str | None) -> TaskRequest:
    topic, item = topic or asked.topic, item or asked.item_id
    return asked if (topic, item) == (asked.topic, asked.item_id) else replace(asked, topic=topic, item_id=item)


def _by_key(texts: Sequence[str]) -> dict[str, str]:
    """The first text of each key, in the order given."""
    keys = dict[str, str]()
    for text in texts:
        keys.setdefault(folded(text), text)
    return keys


def _known(kind: Kind, texts: Sequence[str]) -> QueryFlow[dict[str, str]]:
    """By key what is called something."""
    if not texts:
        return {}
    rows = yield KNOWN, {"kind": kind, "folded": list({folded(text) for text in texts})}
    return {row["folded"]: row["name"] for row in rows}


def _register(new: Sequence[tuple[Kind, str]]) -> QueryFlow[dict[tuple[Kind, str], str]]:
    """By kind and key what these are called now."""
    kinds, texts = zip(*new, strict=True)
    values = {"kinds": list(kinds), "folded": [folded(text) for text in texts], "texts": list(texts)}
    rows = yield REGISTER, values
    return {(row["kind"], row["folded"]): row["name"] for row in rows}
