"""A database with something in every table, whatever revision it stands at."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

TASKS = 10_000
TASK = "md5('task ' || n)::uuid"
STUDENT = "md5('student ' || n % 200)::uuid"
OF_ALL_TIMES = [
    """INSERT INTO users (id, email, name, password_hash)
       SELECT md5('student ' || n)::uuid, 'student' || n || '@example.com', 'Åda ' || n, '$argon2id$v=19$' || n
       FROM generate_series(0, 199) AS n""",
    """INSERT INTO service_keys (name, prefix, key_hash, revoked_at)
       SELECT 'school ' || n, 'ssk_' || n, sha256(n::text::bytea), CASE WHEN n > 3 THEN now() END
       FROM generate_series(1, 5) AS n""",
    """INSERT INTO training_runs (outcome, started_at, finished_at, n_tasks, n_taken, progress, message)
       SELECT 'published', now(), now(), n, 5, '{"epoch": 3}', 'Trained on ' || n || ' tasks'
       FROM generate_series(1, 9) AS n""",
    """INSERT INTO model_versions (kind, folder, files, state, reason, n_tasks, report, run_id)
       SELECT kind, 'versions/' || kind || n, '{"weights.npz": "00"}',
              CASE WHEN n = 9 THEN 'serving' ELSE 'retired' END, 'because', n, '{"rows": 40}', n
       FROM generate_series(1, 9) AS n, (VALUES ('embedding_v2'), ('lnirt')) AS kinds (kind)""",
    f"""INSERT INTO practice_tasks (id, user_id, topic, difficulty, item_id, created_at, completed, is_correct,
                                   actual_time_seconds, completed_at, correctness_prob, estimated_time_seconds,
                                   lnirt_model_version, model_version_id)
       SELECT {TASK}, {STUDENT}, 'Topic ñ ' || n % 9, (ARRAY['easy', 'medium', 'hard'])[n % 3 + 1],
              CASE WHEN n % 4 > 0 THEN 'item ' || n % 50 END, timestamptz '2026-01-01Z' + n * interval '1 minute',
              n % 5 > 0, CASE WHEN n % 5 > 0 THEN n % 3 = 0 END, CASE WHEN n % 5 > 0 THEN 10 + n / 7.0 END,
              CASE WHEN n % 5 > 0 THEN timestamptz '2026-01-01Z' + (n + 1) * interval '1 minute' END,
              0.1 + n % 80 / 100.0, 30.5, 'v1.0', n % 18 + 1
       FROM generate_series(1, {TASKS}) AS n""",
    """UPDATE embedding_model_tracker SET n_samples_since_training = 7, n_samples_last_training = 40,
           model_version = 'embedding_v2', last_trained_at = now(), metadata = '{"state": "published"}'""",
]
# Revision -> what can be filled from then on.
SINCE = {
    "0001": OF_ALL_TIMES,
    "0002": [
        """UPDATE practice_tasks SET correctness_prob_low = 0.1, correctness_prob_high = 0.9, time_low_seconds = 1.25,
               time_high_seconds = 1e2, fallback_reason = 'why' WHERE model_version_id < 4""",
        """INSERT INTO student_posteriors (user_id, version_id, n, through, state)
           SELECT id, 2, 3, now(), '\\x0102' FROM users""",
    ],
    "0003": [
        "UPDATE users SET is_admin = true WHERE email = 'student7@example.com'",
        "UPDATE training_runs SET kinds = ARRAY['lnirt'] WHERE id = 3",
        """UPDATE model_versions SET by_hand = true, scores = '{"auc": 0.7}', train_seconds = 1.5, data_from = now(),
               data_to = now() WHERE id = 5""",
        "UPDATE practice_tasks SET features = ARRAY[0.1, 1/3.0, 1e-300] WHERE model_version_id > 9",
        """INSERT INTO student_states (user_id, kind, version_id, n, through, state)
           SELECT id, 'lnirt', 2, 3, now(), '\\x0102' FROM users""",
        """INSERT INTO serving_changes (what, lineup, made_by, reason, back_to)
           SELECT 'promoted', ARRAY[n, n + 1], 'ada@example.com', 'because', n FROM generate_series(1, 5) AS n""",
        """INSERT INTO shadow_predictions (task_id, model_version_id, correctness_prob, estimated_time_seconds)
           SELECT id, 1, 0.5, 60 FROM practice_tasks WHERE model_version_id = 2""",
    ],
    "0006": ["UPDATE training_runs SET from_scratch = false WHERE id > 5"],
    "0007": [
        """INSERT INTO audit_log (actor, actor_id, act, subject, details, request_id, address)
           SELECT 'ada@example.com', id, 'promote', '3', '{"from": 2}', 'abc', '127.0.0.1' FROM users LIMIT 50""",
        "INSERT INTO rate_limits (key, n) VALUES ('sign in 127.0.0.1', 3)",
        "INSERT INTO erasures DEFAULT VALUES",
        "UPDATE model_versions SET erasures = 1 WHERE id > 4",
        "UPDATE training_runs SET backend = 77, folders = ARRAY['versions/lnirt9'] WHERE id = 9",
        "UPDATE training_control SET paused_at = now(), paused_by = 'the service', reason = 'five failures'",
    ],
    "0008": [
        "UPDATE users SET language = 'de', theme = 'dark' WHERE email = 'student7@example.com'",
        """INSERT INTO browser_sessions (token_hash, user_id, expires_at)
           SELECT sha256(id::text::bytea), id, now() + interval '1 day' FROM users LIMIT 20""",
        """INSERT INTO exam_plans (user_id, name, exam_date, topics, minutes_per_day, target_success_rate,
                                   chances_at_start)
           SELECT id, 'finals', '2027-01-15', ARRAY['Calculus', 'Waves'], 30, 0.8, '{"Calculus": 0.4}'
           FROM users LIMIT 20""",
    ],
    "0009": [
        """INSERT INTO network_settings (kind, settings, study, trial, score, default_score, made_by)
           VALUES ('embedding_v2', '{"rate": 0.002, "epochs": [5, 30]}', 'a study', 7, 0.61, 0.62, 'command line')""",
    ],
    "0011": [
        "INSERT INTO topics (name, state) VALUES ('Calculus', 'approved'), ('Größe 数', 'hidden')",
        """INSERT INTO api_tokens (user_id, expires_at)
           SELECT id, now() + interval '1 day' FROM users LIMIT 20""",
        "INSERT INTO known_places (user_id, place) SELECT id, sha256(id::text::bytea) FROM users LIMIT 20",
        "INSERT INTO write_checks DEFAULT VALUES",
    ],
    "0012": [
        """INSERT INTO result_corrections (task_id, user_id, was_correct, was_seconds, completed_at, is_correct,
                                           actual_time_seconds, made_by)
           SELECT id, user_id, NOT is_correct, 12.5, completed_at, is_correct, actual_time_seconds, 'student'
           FROM practice_tasks WHERE completed AND model_version_id = 3""",
        "UPDATE model_versions SET corrections = 2 WHERE id > 4",
        "UPDATE users SET time_zone = 'Pacific/Auckland' WHERE email = 'student7@example.com'",
        "UPDATE exam_plans SET time_zone = 'Pacific/Honolulu' WHERE name = 'finals'",
        """INSERT INTO idempotency_keys (caller, key, request, status, answer)
           SELECT id::text, 'one', sha256(id::text::bytea), 201, '{"id": 1}' FROM users LIMIT 20""",
        "INSERT INTO demonstration_students SELECT user_id FROM practice_tasks LIMIT 1",
        "UPDATE users SET disabled_at = now() WHERE email = 'student8@example.com'",
        """INSERT INTO password_links (token_hash, user_id, expires_at)
           SELECT sha256(id::text::bytea), id, now() + interval '1 day' FROM users LIMIT 20""",
        "INSERT INTO allowed_schools (user_id, school_id) SELECT id, gen_random_uuid() FROM users LIMIT 20",
    ],
    "0013": [
        "INSERT INTO discarded_tasks (task_id, user_id) SELECT gen_random_uuid(), id FROM users LIMIT 20",
        "INSERT INTO trainers (name) VALUES ('machine:17')",
        """UPDATE training_runs SET ordered = true, trainer = 'machine:17', tries = 2, n_read = 40, seconds = 8.5,
                                    peak_bytes = 700000000, overran = 'time', rung = 1 WHERE id = 1""",
    ],
}


def fill(connection: Connection, revision: str) -> None:
    """Fill what this revision brought."""
    for statement in SINCE.get(revision, []):
        connection.execute(text(statement))


def contents(connection: Connection) -> dict[str, list[Mapping[str, Any]]]:
    """Every row of every table, each value as text."""
    names = connection.scalars(
        text("""SELECT table_name FROM information_schema.tables
                WHERE table_schema = current_schema() AND table_name <> 'alembic_version'""")
    )
    return {
        name: list(connection.scalars(text(f"SELECT to_jsonb(row) FROM {name} AS row ORDER BY row::text")))
        for name in list(names)
    }
