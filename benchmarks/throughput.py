"""POST and PATCH under 16 keep-alive clients, one worker: ours, raw asyncpg, a bare route, the documents' way."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks import questions
from benchmarks.clients import Answered, Job, load
from benchmarks.findings import OURS, Found, Row, Target, medians, ratio
from benchmarks.stage import Stage, Way, sql

CLIENTS = 16
AT_ONCE = 64  # clients that complete tasks at the same time
INCREMENTS = 192
TASKS = 3000  # to be completed in one load
RAW = "raw asyncpg"
OPEN_TASKS = """INSERT INTO practice_tasks (id, user_id, topic, difficulty, created_at, completed)
    SELECT gen_random_uuid(), user_id, topic, difficulty, now(), false FROM practice_tasks, generate_series(1, 1000)
    LIMIT %s RETURNING id"""

Rounds = dict[str, list[Answered]]


def post(stage: Stage) -> Found:
    """Tasks created and predicted."""
    rounds: Rounds = defaultdict(list)
    stage.quiet()
    for turn, way in _in_turn(stage, "POST"):
        asked = questions.posts(questions.some(stage.world, 2000, turn), way.key, way.path)
        rounds[way.name].append(load(Job(way.port, asked, CLIENTS, stage.sizes.seconds, again=True)))
    return Found(_rows("POST", rounds))


def patch(stage: Stage) -> Found:
    """Tasks completed and counted; and how many of 192 concurrent completions the counter kept."""
    rounds: Rounds = defaultdict(list)
    stage.quiet()
    for turn, way in _in_turn(stage, "PATCH"):
        results = questions.patches(open_tasks(stage, way, TASKS, turn, stage.sizes.seconds), way.key, way.path)
        rounds[way.name].append(load(Job(way.port, results, CLIENTS, stage.sizes.seconds)))
    return Found([*_rows("PATCH", rounds), increments(stage)])


def _in_turn(stage: Stage, what: str) -> Iterator[tuple[int, Way]]:
    """All ways, then all again: what disturbs the machine disturbs them alike."""
    ways = [stage.ours, *stage.bare, stage.documents]
    for turn in range(stage.sizes.rounds):
        for way in ways:
            stage.say(f"{what}, round {turn + 1} of {stage.sizes.rounds}: {way.name}")
            yield turn, way


def open_tasks(stage: Stage, way: Way, n: int, seed: int, seconds: float) -> list[str]:
    """Ids of n tasks to be completed, or as many as are created in time.

    The documents' way is too slow to create them by itself.
    """
    if way.name == "documents":
        return [str(row[0]) for row in sql(stage.documents_url, OPEN_TASKS, n)]
    asked = questions.posts(questions.some(stage.world, n, seed), way.key, way.path)
    return questions.ids_of(load(Job(way.port, asked, CLIENTS, seconds, bodies=True)).bodies)


def _rows(method: str, rounds: Rounds) -> list[Row]:
    part = method.lower()
    rates: dict[str, Sequence[float]] = {way: [each.per_second for each in found] for way, found in rounds.items()}
    failed = sum(each.failed for each in rounds[OURS])
    reached = ratio(rates, OURS, RAW)
    target = Target(">=", 0.5, "of raw asyncpg", reached)
    return [
        Row(part, f"{method}, {CLIENTS} clients", "requests/s", medians(rates), target),
        Row(part, f"{method}, {CLIENTS} clients, median", "ms", _over(rounds, 50)),
        Row(part, f"{method}, {CLIENTS} clients, p99", "ms", _over(rounds, 99)),
        Row(part, f"{method}, requests failed", "", {OURS: failed}, Target("=", 0, "", failed)),
    ]


def _over(rounds: Rounds, share: float) -> dict[str, float]:
    return {way: median(each.percentile(share) for each in found) for way, found in rounds.items()}


def increments(stage: Stage) -> Row:
    """Completions that arrive together: how many the counter holds afterwards."""
    stage.say(f"PATCH: {INCREMENTS} at once, how many are counted")
    kept: dict[str, float] = {}
    for way, url in ((stage.ours, stage.url), (stage.documents, stage.documents_url)):
        tasks = open_tasks(stage, way, INCREMENTS, 99, 60)
        before = counter(url)
        answered = load(Job(way.port, questions.patches(tasks, way.key, way.path), AT_ONCE, 30))
        acknowledged = answered.statuses.get("200", 0)
        kept[way.name] = counter(url) - before + INCREMENTS - acknowledged  # what was not acknowledged, is no loss
    target = Target("=", INCREMENTS, "", kept[OURS])
    return Row("patch", f"{INCREMENTS} concurrent completions, counted", "", kept, target)


def counter(url: str) -> int:
    return int(sql(url, "SELECT n_samples_since_training FROM embedding_model_tracker")[0][0])
