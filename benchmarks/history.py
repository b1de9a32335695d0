"""POST and PATCH of one client, for students with a short past and with a long one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from uuid import UUID

import numpy as np

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from benchmarks import questions
from benchmarks.clients import Job, load
from benchmarks.findings import OURS, Curve, Found, Row, Target, medians, ratio
from benchmarks.stage import Stage, Way

SHORT = 10  # tasks
PEOPLE = 40  # with a short past, so that measuring doesn't make it long
DOCUMENTS = "documents"
PASTS = "tasks in the student's past"
DAY = 86_400_000_000  # microseconds
Rounds = dict[str, Sequence[float]]


def history(stage: Stage) -> Found:
    """Milliseconds, by how many tasks the student has finished."""
    long = stage.sizes.long_past
    pasts = {SHORT: past(SHORT, PEOPLE, 1_000_000), long: past(long, 1, 2_000_000)}
    stage.say(f"importing {len(pasts[long]):,} tasks of one student")
    for attempts in pasts.values():
        stage.service.add(attempts)
    stage.quiet()
    posts, patches = _ours(stage, pasts)
    theirs = _documents(stage)
    rows = [_row("POST", posts, theirs), _row("PATCH", patches, {})]
    mine = [_curve(what, OURS, medians(rounds)) for what, rounds in (("POST", posts), ("PATCH", patches))]
    return Found(rows, [*mine, _curve("POST", DOCUMENTS, theirs)])


def _row(what: str, rounds: Rounds, theirs: dict[str, float]) -> Row:
    """Ours with the long past, then all others."""
    short, long = rounds
    target = Target("<=", 1.2, f"times that of {SHORT}", ratio(rounds, long, short))
    figures = {OURS: median(rounds[long]), f"{OURS}, past of {short}": median(rounds[short])}
    figures |= {f"{DOCUMENTS}, past of {int(n):,}": found for n, found in theirs.items()}
    return Row("history", f"{what}, one client, {int(long):,} past tasks", "ms", figures, target)


def past(n: int, students: int, first: int) -> Attempts:
    """n tasks of each student, all finished before those of anybody else: a long past takes years."""
    attempts = simulate(school(students, seed=6), n, seed=6).attempts
    earlier = int(np.ptp(attempts.finished)) // DAY * DAY + DAY
    ids = tuple(str(UUID(int=first + number)) for number in range(students))
    return replace(attempts, students=ids, started=attempts.started - earlier, finished=attempts.finished - earlier)


def _ours(stage: Stage, pasts: dict[int, Attempts]) -> tuple[Rounds, Rounds]:
    posts: dict[str, list[float]] = defaultdict(list)
    patches: dict[str, list[float]] = defaultdict(list)
    for turn in range(2 * stage.sizes.rounds + 1):
        for n, attempts in pasts.items():
            stage.say(f"one client, a past of {n:,} tasks, round {turn}")
            post, patch = _one_client(stage, stage.ours, attempts, turn)
            if turn:  # the first one warms up
                posts[str(n)].append(post)
                patches[str(n)].append(patch)
    return dict(posts), dict(patches)


def _one_client(stage: Stage, way: Way, attempts: Attempts, turn: int) -> tuple[float, float]:
    """Median of POST and of PATCH, ms."""
    asked = questions.posts(questions.some(attempts, stage.sizes.asked, turn), way.key)
    made = load(Job(way.port, asked, 1, 60, bodies=True))
    done = load(Job(way.port, questions.patches(questions.ids_of(made.bodies), way.key), 1, 60))
    return made.median, done.median


def _documents(stage: Stage) -> dict[str, float]:
    """The rows of the past are scanned in Python; so is what Keras takes, whatever the past."""
    from benchmarks.reference import web_documents

    asked: dict[int, list[str]] = {}
    for place, n in enumerate(stage.sizes.documents_pasts):
        attempts = past(n, 1, 3_000_000 + place)
        web_documents.fill(stage.documents_url, attempts)
        asked[n] = questions.posts(questions.some(attempts, max(5, stage.sizes.asked // 10), 0))
    found: dict[str, list[float]] = defaultdict(list)
    for turn in range(stage.sizes.rounds):
        for n, requests in asked.items():
            stage.say(f"the documents' way, a past of {n:,} tasks, round {turn + 1}")
            found[str(n)].append(load(Job(stage.documents.port, requests, 1, 60)).median)
    return medians(dict(found))


def _curve(what: str, line: str, by_past: dict[str, float]) -> Curve:
    return Curve(f"{what}, one client (ms)", line, PASTS, [float(n) for n in by_past], list(by_past.values()))
