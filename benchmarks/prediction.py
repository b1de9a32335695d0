"""One prediction without the database: ours, Keras `predict` of both networks, and the arithmetic alone."""

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

import numpy as np

from app.domain.tasks import TaskRequest
from app.ml.evaluation.simulated import TOPICS, school, simulate
from benchmarks.child import told_by
from benchmarks.findings import OURS, Found, Row, Target, medians
from benchmarks.stage import Stage

LAYERS = (26, 128, 64, 32, 16, 1)  # units of both networks
KERAS, ALONE = "keras predict", "arithmetic alone"
KERAS_SHARE = 200  # it takes so many times longer, so it is asked less often
STUDENT = UUID("00000000-0000-4000-8000-000000000001")


def prediction(stage: Stage) -> Found:
    """Microseconds."""
    environment = stage.service.environment
    stage.quiet()
    stage.say("one prediction: ours, Keras, the arithmetic alone, in turn, each in a process of its own")
    counts = {OURS: stage.sizes.predictions, ALONE: stage.sizes.predictions}
    counts[KERAS] = max(3, stage.sizes.predictions // KERAS_SHARE)

    def once(way: str) -> float:
        return float(told_by("benchmarks.prediction", way, counts[way], environment=environment))

    turns = [{way: once(way) for way in counts} for _ in range(3)]
    figures = medians({way: [turn[way] for turn in turns] for way in counts})
    target = Target("<=", 150, "us", figures[OURS])
    return Found([Row("prediction", "one prediction, without the database", "us", figures, target)])


def our_way() -> Callable[[], Any]:
    """From the row that the database gives for a student with sixty finished tasks to the prediction."""
    from app.core.database import new_session
    from app.core.db.statements import run_sync
    from app.crud.student_totals import past_of
    from app.ml.embedding_service import predict, predict_and_save
    from app.ml.serving.model_order import serving_models

    serving, asked = serving_models(), TaskRequest(STUDENT, TOPICS[0], "medium")
    serving.refresh()
    question, values = next(predict_and_save(serving, asked))
    with new_session().begin() as db:
        row = question.rows_sync(db, **values)[0]
        run_sync(predict(serving, asked, past_of(row)), db)  # what is known of the student is kept now
        told = recorded(predict(serving, asked, past_of(row)), db)

    def once() -> Any:
        flow, rows = predict(serving, asked, past_of(row)), iter(told)
        try:
            next(flow)
            while True:
                flow.send(next(rows))
        except StopIteration as end:
            return end.value

    return once


def recorded(flow: Any, db: Any) -> list[Any]:
    """What the database answers to each question of a query flow."""
    told = list[Any]()
    try:
        question, values = next(flow)
        while True:
            told.append(question.rows_sync(db, **values))
            question, values = flow.send(told[-1])
    except StopIteration:
        return told


def keras_way() -> Callable[[], Any]:
    """Both networks of the documents, one row."""
    from benchmarks.reference import v2_documents

    world = simulate(school(50, seed=4), 60, seed=4).attempts
    networks = v2_documents.untrained(world).both()
    asked = [np.array([1]), np.array([1]), np.array([1]), np.full((1, 11), 0.5, np.float32)]
    return lambda: [network.predict(asked, verbose=0) for network in networks]


def arithmetic_alone() -> Callable[[], Any]:
    """The matrix products, nothing else."""
    random = np.random.default_rng(0)
    layers = [random.normal(size=(2, n, m)).astype(np.float32) for n, m in pairwise(LAYERS)]
    past = random.normal(size=(1, LAYERS[0])).astype(np.float32)

    def once() -> Any:
        x = past
        for kernel in layers:
            x = x @ kernel
        return x

    return once


def microseconds(way: Callable[[], Any], n: int) -> float:
    """Median of n."""
    way()
    taken = []
    for _ in range(n):
        start = perf_counter()
        way()
        taken.append(perf_counter() - start)
    return median(taken) * 1e6


WAYS = {OURS: our_way, KERAS: keras_way, ALONE: arithmetic_alone}

if __name__ == "__main__":
    print(json.dumps(microseconds(WAYS[sys.argv[1]](), int(sys.argv[2]))))
