"""A student's story by the client that openapi-python-client makes; what is said at the end, the test reads."""

import json
import sys
from typing import Any

from smart_study_client import AuthenticatedClient, Client
from smart_study_client.api.a_persons_data import get_my_analytics
from smart_study_client.api.practice_tasks import complete_practice_task, create_practice_task
from smart_study_client.api.sign_in import register, sign_in
from smart_study_client.api.topics import list_topics
from smart_study_client.models import BodySignIn, Difficulty, NewTask, Problem, Registration, TaskResult

EMAIL, PASSWORD = "python@example.com", "correct horse battery staple"
address = sys.argv[1]


def given(answer: Any) -> Any:
    if answer is None or isinstance(answer, Problem):
        raise SystemExit(f"refused: {answer}")
    return answer


nobody = Client(base_url=address)
given(register.sync(client=nobody, body=Registration(email=EMAIL, password=PASSWORD)))
token = given(sign_in.sync(client=nobody, body=BodySignIn(username=EMAIL, password=PASSWORD)))
ada = AuthenticatedClient(base_url=address, token=token.access_token)

task = given(create_practice_task.sync(client=ada, body=NewTask(topic="Calculus", difficulty=Difficulty.MEDIUM)))
result = TaskResult(is_correct=True, actual_time_seconds=42.5)
done = given(complete_practice_task.sync(task.id, client=ada, body=result))
analytics = given(get_my_analytics.sync(client=ada))
topics = given(list_topics.sync(client=ada, limit=1))
refused = create_practice_task.sync_detailed(client=ada, body=NewTask(topic="", difficulty=Difficulty.HARD))

print(
    json.dumps(
        {
            "predicted": task.correctness_prob,
            "completed": done.completed,
            "tasks": analytics.total.tasks,
            "topic": topics.items[0].name,
            "refused": [int(refused.status_code), refused.parsed.errors[0].field],
        }
    )
)
