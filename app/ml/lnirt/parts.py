"""A task of which LNIRT knows only some parts: the student, the topic, the difficulty, the exercise.

LNIRT's predictor is a sum, mean + topic + difficulty + (topic, difficulty) cell + exercise + student, so each part can
be left out: in its place stands what the population makes likely, with the variance among its members. A cell's part
needs both its topic and its difficulty. With app/ml/shapley.py the parts share what all of them together bring.
"""

import numpy as np

from app.domain.tasks import TaskRequest
from app.ml import shapley
from app.ml.answers import parts_of
from app.ml.lnirt.ability import Predictive, columns_of, newcomers, practised, predict
from app.ml.lnirt.data import Floats
from app.ml.lnirt.item_bank import LEAST_SLOPE, UNSEEN, ItemBank
from app.ml.lnirt.population import ItemParameters


def predictions(
    bank: ItemBank, whole: ItemParameters, state: Floats, practice: tuple[float, float], asked: TaskRequest
) -> Predictive[Floats]:
    """What is expected of each coalition of the n parts of a task, 2^n in the order of `shapley.coalitions`.

    `whole` has the parameters of the task itself, `state` (1, nodes + 3) what is known of its student, who has finished
    so many tasks on the topic and on the exercise (`practice`), which counts whoever does them.
    """
    names, population = parts_of(asked), bank.population
    known = [frozenset(np.array(names)[row].tolist()) for row in shapley.coalitions(len(names))]
    columns = columns_of([_task(bank, whole, asked, parts) for parts in known])
    by_student = np.array(["student" in parts for parts in known])
    states = np.where(by_student[:, None], state, newcomers(population))
    return predict(population, states, practised(population, columns, practice))


def _task(bank: ItemBank, whole: ItemParameters, asked: TaskRequest, known: frozenset[str]) -> ItemParameters:
    """The parameters of a task of which only the `known` parts are; an exercise moves its group as it does its cell."""
    if known >= set(parts_of(asked)) - {"student"}:
        return whole
    topic, difficulty = asked.topic if "topic" in known else None, asked.difficulty if "difficulty" in known else None
    group = bank.find(UNSEEN, topic, difficulty)
    return _moved(group, whole, bank.find(UNSEEN, asked.topic, asked.difficulty)) if "exercise" in known else group


def _moved(start: ItemParameters, whole: ItemParameters, group: ItemParameters) -> ItemParameters:
    """The parameters `start`, moved as far as the exercise lies from its group; sigma2 by its ratio."""
    moved = ItemParameters(*(a + b - c for a, b, c in zip(start, whole, group, strict=True)))
    alpha_var, beta_var = max(moved.alpha_var, 0.0), max(moved.beta_var, 0.0)
    most = (alpha_var * beta_var) ** 0.5
    return moved._replace(
        alpha=max(moved.alpha, LEAST_SLOPE),
        phi=max(moved.phi, LEAST_SLOPE),
        sigma2=start.sigma2 * whole.sigma2 / group.sigma2,
        alpha_var=alpha_var,
        beta_var=beta_var,
        alpha_beta_cov=min(max(moved.alpha_beta_cov, -most), most),
        time_var=max(moved.time_var, 0.0),
    )
