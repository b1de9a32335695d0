"""The tables."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

UTC_NOW = text("timezone('utc', now())")
ASKED = ("created_at", "id")  # read backwards, for the newest; what comes in goes behind, so that pages fill up
COMPLETED = text("completed")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own way to say it
        datetime: DateTime(timezone=True),
        str: Text,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        list[float]: ARRAY(Double),
    }


class User(Base):
    """A student with an account of their own; the id is the `user_id` of their tasks."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    email: Mapped[str] = mapped_column(unique=True)  # lower case
    name: Mapped[str | None]
    password_hash: Mapped[str]  # Argon2id
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    is_admin: Mapped[bool] = mapped_column(server_default=text("false"))
    language: Mapped[str | None]  # of the pages; none: as the browser asks
    theme: Mapped[str | None]  # light or dark; none: as the machine is set
    time_zone: Mapped[str | None]  # IANA name; none: not known yet, the setting TIME_ZONE's
    disabled_at: Mapped[datetime | None]  # by an admin; none: they may sign in


class PasswordLink(Base):
    """A link by which a new password is set, once."""

    __tablename__ = "password_links"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)  # SHA-256 of 256 random bits
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_password_links_user_id", "user_id"),)


class DemonstrationStudent(Base):
    """A student who was made up, by the sample or the guided run."""

    __tablename__ = "demonstration_students"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)  # as on practice_tasks


class BrowserSession(Base):
    """A browser in which somebody is signed in; its cookie holds the token."""

    __tablename__ = "browser_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)  # SHA-256 of 256 random bits
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    id: Mapped[UUID] = mapped_column(unique=True, server_default=text("gen_random_uuid()"))  # to end it by

    __table_args__ = (Index("ix_browser_sessions_user_id", "user_id"),)


class ApiToken(Base):
    """A token of the API that is good until it expires or its row is gone."""

    __tablename__ = "api_tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))  # the token's jti
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_api_tokens_user_id", "user_id"),)


class KnownPlace(Base):
    """A browser or an address from which an account has signed in or registered."""

    __tablename__ = "known_places"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[bytes] = mapped_column(primary_key=True)  # SHA-256
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ServiceKey(Base):
    """A school's back end: may name any student, or its own only."""

    __tablename__ = "service_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    name: Mapped[str]
    prefix: Mapped[str]  # the first characters, to tell keys apart in a list
    key_hash: Mapped[bytes] = mapped_column(unique=True)  # SHA-256 of 256 random bits
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]  # from this moment on; one that has been replaced may run on for a while
    school_id: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))  # one for all keys of a name
    own_students: Mapped[bool] = mapped_column(server_default=text("false"))  # sees those only whom it brought

    __table_args__ = (
        Index("uq_service_keys_name_in_use", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )


class AllowedSchool(Base):
    """A student with an account lets a school's keys record tasks for them."""

    __tablename__ = "allowed_schools"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    school_id: Mapped[UUID] = mapped_column(primary_key=True)  # of service_keys
    allowed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AuditEntry(Base):
    """An act of an admin, or of somebody at the command line."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]  # the address to sign in with, or "command line"
    actor_id: Mapped[UUID | None]
    act: Mapped[str]
    subject: Mapped[str | None]  # what it was done to: a version, a key, an account
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    request_id: Mapped[str | None]
    address: Mapped[str | None]  # where the request came from

    __table_args__ = (Index("ix_audit_log_at", "at"),)


class RateLimit(Base):
    """How often something was tried since a moment, by whom."""

    __tablename__ = "rate_limits"

    key: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=func.now())
    n: Mapped[int]


class IdempotencyKey(Base):
    """The answer to a request that carried an Idempotency-Key, for those who send it again."""

    __tablename__ = "idempotency_keys"

    caller: Mapped[str] = mapped_column(primary_key=True)  # the student, the key's or the address's hash
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[bytes]  # keyed hash of its path and body
    status: Mapped[int]
    answer: Mapped[str]  # the body
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


class PracticeTask(Base):
    """One practice task: asked, predicted, perhaps completed."""

    __tablename__ = "practice_tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID]  # a users.id, or whatever UUID a service key's owner knows the student by
    topic: Mapped[str]
    difficulty: Mapped[str]
    item_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed: Mapped[bool] = mapped_column(server_default=text("false"))
    is_correct: Mapped[bool | None]
    actual_time_seconds: Mapped[float | None]
    completed_at: Mapped[datetime | None]
    correctness_prob: Mapped[float | None]
    estimated_time_seconds: Mapped[float | None]
    lnirt_model_version: Mapped[str | None]  # historic name: which kind of model answered
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    correctness_prob_low: Mapped[float | None]  # 10-90 %, where the model says how sure it is
    correctness_prob_high: Mapped[float | None]
    time_low_seconds: Mapped[float | None]
    time_high_seconds: Mapped[float | None]
    fallback_reason: Mapped[str | None]  # why no better model answered
    features: Mapped[list[float] | None]  # what was known at creation, as app/ml/features/inputs.py has it
    contributions: Mapped[dict[str, Any] | None]  # of chance and time by kind, where a network had its part
    school_id: Mapped[UUID | None]  # whose key, which sees nobody else's, brought it

    __table_args__ = (
        CheckConstraint("difficulty IN ('easy', 'medium', 'hard')", name="difficulty"),
        CheckConstraint("length(topic) BETWEEN 1 AND 200", name="topic"),
        CheckConstraint(
            "NOT completed OR (is_correct IS NOT NULL AND completed_at IS NOT NULL AND actual_time_seconds IS NOT NULL"
            " AND actual_time_seconds > 0 AND actual_time_seconds < 'Infinity')",  # NaN is above Infinity
            name="completed_has_result",
        ),
        CheckConstraint(
            "correctness_prob IS NULL OR (lnirt_model_version IS NOT NULL AND correctness_prob > 0"
            " AND correctness_prob < 1 AND estimated_time_seconds > 0 AND estimated_time_seconds < 'Infinity')",
            name="prediction_names_model",
        ),
        Index("ix_practice_tasks_of_student", "user_id", *ASKED),
        Index("ix_practice_tasks_open", "user_id", *ASKED, postgresql_where=text("NOT completed")),
        Index("ix_practice_tasks_newest", *ASKED),
        Index("ix_practice_tasks_last_completed", "user_id", "completed_at", "id", postgresql_where=COMPLETED),
        Index("ix_practice_tasks_finished", "completed_at", postgresql_where=COMPLETED),
        Index("ix_practice_tasks_of_school", "school_id", *ASKED, postgresql_where=text("school_id IS NOT NULL")),
    )


class Topic(Base):
    """What an admin decided about a topic; most have no row."""

    __tablename__ = "topics"

    name: Mapped[str] = mapped_column(primary_key=True)  # as on practice_tasks
    state: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("state IN ('approved', 'hidden')", name="state"),)


class Spelling(Base):
    """What a topic or an exercise is called, however it is coded, spaced or capitalised."""

    __tablename__ = "spellings"

    kind: Mapped[str] = mapped_column(primary_key=True)
    folded: Mapped[str] = mapped_column(primary_key=True)  # see `folded` in app/domain/characters.py
    first: Mapped[str]  # as it was written first: what the ids of imported rows are made of
    name: Mapped[str]  # as on practice_tasks
    written_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("kind IN ('topic', 'item')", name="kind"),)


class StudentTotal(Base):
    """Running totals of a student's completed tasks; triggers on practice_tasks keep them."""

    __tablename__ = "student_totals"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)  # all, topic, difficulty, item
    key: Mapped[str] = mapped_column(primary_key=True)  # '', the topic, the difficulty, the item
    n: Mapped[int]
    n_correct: Mapped[int]
    microseconds: Mapped[int] = mapped_column(BigInteger)  # of their times, each rounded
    # Of all: when a result was last changed or taken away, or else when the first one came.
    changed_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    last_at: Mapped[
        datetime | None
    ]  # when the task that was finished last was; of two at once the one with the greater id
    last_id: Mapped[UUID | None]
    last_correct: Mapped[bool | None]
    last_seconds: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (
        CheckConstraint("scope IN ('all', 'topic', 'difficulty', 'item')", name="scope"),
        Index("ix_student_totals_all", "user_id", postgresql_where=text("scope = 'all'")),
    )


class StudentState(Base):
    """What a student's answers say to one version of a kind of model."""

    __tablename__ = "student_states"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[int]
    n: Mapped[int]  # answers in it
    through: Mapped[datetime]  # completed at or before
    state: Mapped[bytes]  # plain numbers, in the kind's own order
    changed_at: Mapped[datetime | None]  # of the totals then: with another one it is not of these results


class ResultCorrection(Base):
    """A result that was changed or taken back: what it was, and who said so."""

    __tablename__ = "result_corrections"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    task_id: Mapped[UUID]  # which may be gone
    user_id: Mapped[UUID]  # as on practice_tasks; goes with the student
    was_correct: Mapped[bool]
    was_seconds: Mapped[float] = mapped_column(Double)
    completed_at: Mapped[datetime]  # of what was corrected
    is_correct: Mapped[bool | None]  # from then on; none: taken back, the task was open again
    actual_time_seconds: Mapped[float | None] = mapped_column(Double)
    made_by: Mapped[str]  # student, "service key NAME", console

    __table_args__ = (
        Index("ix_result_corrections_user_id", "user_id", "id"),
        Index("ix_result_corrections_task_id", "task_id", "id"),
    )


class DiscardedTask(Base):
    """An open task that was discarded lately; for those who follow what happens."""

    __tablename__ = "discarded_tasks"

    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]  # as on practice_tasks; goes with the student
    school_id: Mapped[UUID | None]
    at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index("ix_discarded_tasks_user_id", "user_id", "at"),
        Index("ix_discarded_tasks_at", "at"),
    )


class ShadowPrediction(Base):
    """What another version would have said of a task; only recorded."""

    __tablename__ = "shadow_predictions"

    task_id: Mapped[UUID] = mapped_column(primary_key=True)  # goes with the task, by triggers
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    correctness_prob: Mapped[float]
    estimated_time_seconds: Mapped[float]
    time_low_seconds: Mapped[float | None]
    time_high_seconds: Mapped[float | None]


class ExamPlan(Base):
    """An exam that a student prepares for; the days are planned anew each time they are looked at."""

    __tablename__ = "exam_plans"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID]  # as on practice_tasks
    name: Mapped[str | None]
    exam_date: Mapped[date]
    topics: Mapped[list[str]]
    minutes_per_day: Mapped[int]
    target_success_rate: Mapped[float]
    chances_at_start: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # by topic, 0-1
    time_zone: Mapped[str | None]  # IANA name, where it was given with the plan; none: the student's
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    school_id: Mapped[UUID | None]  # as on practice_tasks

    __table_args__ = (
        CheckConstraint("cardinality(topics) BETWEEN 1 AND 20", name="topics"),
        CheckConstraint("minutes_per_day BETWEEN 5 AND 480", name="minutes_per_day"),
        CheckConstraint("target_success_rate BETWEEN 0.7 AND 0.85", name="target_success_rate"),
        Index("ix_exam_plans_of_student", "user_id", "exam_date"),
    )


class Erasure(Base):
    """That a student was erased; not who. A version trained before one knows somebody it must not."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class ModelTracker(Base):
    """One row that tells ops how training stands; they may write it by hand."""

    __tablename__ = "embedding_model_tracker"

    id: Mapped[int] = mapped_column(primary_key=True)
    last_trained_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False))  # UTC
    n_samples_last_training: Mapped[int | None] = mapped_column(server_default=text("0"))
    n_samples_since_training: Mapped[int | None] = mapped_column(server_default=text("0"))
    model_version: Mapped[str | None] = mapped_column(String(50))
    notes: Mapped[dict[str, Any] | None] = mapped_column("metadata", server_default=text("'{}'"))
    created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False), server_default=UTC_NOW)
    updated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False), server_default=UTC_NOW)

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class TrainingRun(Base):
    """One training, from the moment it was asked for."""

    __tablename__ = "training_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default="asked")
    n_tasks: Mapped[int | None]  # finished tasks it learned from
    n_taken: Mapped[int | None]  # of the counter
    kinds: Mapped[list[str] | None]  # what was asked for; none: all of them
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    message: Mapped[str | None]  # how it ended, in a sentence
    from_scratch: Mapped[bool] = mapped_column(server_default=text("true"))  # or went on from the models there were
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())  # when its process last said that it lives
    backend: Mapped[int | None]  # PostgreSQL's process that holds the single writer's lock for it
    folders: Mapped[list[str] | None]  # below MODEL_DIR, that it may have begun to write
    ordered: Mapped[bool] = mapped_column(server_default=text("false"))  # by a person: any trainer takes it
    trainer: Mapped[str | None]  # that took it, `host:process id`
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))  # runs for this order, this one included
    n_read: Mapped[int | None]  # finished tasks that it worked with
    seconds: Mapped[float | None] = mapped_column(Double)  # of work, without those in which others had the processor
    peak_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of memory
    overran: Mapped[str | None]  # what was too little for it: time, memory
    rung: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # of the ladder, how far it stood down

    __table_args__ = (
        CheckConstraint(
            "outcome IN ('asked', 'running', 'published', 'rejected', 'failed', 'interrupted', 'merged')",
            name="outcome",
        ),
        CheckConstraint("overran IN ('time', 'memory')", name="overran"),
        Index("ix_training_runs_open", "id", postgresql_where=text("finished_at IS NULL")),
        Index("ix_training_runs_from_scratch", "id", postgresql_where=text("from_scratch AND kinds IS NULL")),
    )


class Trainer(Base):
    """A process that trains, on whatever machine."""

    __tablename__ = "trainers"

    name: Mapped[str] = mapped_column(primary_key=True)  # `host:process id`
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ModelVersion(Base):
    """One trained model that was published, or was not and why."""

    __tablename__ = "model_versions"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    folder: Mapped[str]  # below MODEL_DIR
    files: Mapped[dict[str, Any]]  # name -> SHA-256
    state: Mapped[str]
    reason: Mapped[str | None]
    n_tasks: Mapped[int]
    report: Mapped[dict[str, Any]]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("training_runs.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    pruned_at: Mapped[datetime | None]
    place: Mapped[int] = mapped_column(server_default=text("0"))  # among the serving: the lowest answers
    by_hand: Mapped[bool] = mapped_column(server_default=text("false"))  # by a person, who must be outdone clearly
    scores: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # on rows that it was not fitted on
    train_seconds: Mapped[float | None]
    data_from: Mapped[datetime | None]  # first and last completion that it was fitted on
    data_to: Mapped[datetime | None]
    erasures: Mapped[int] = mapped_column(server_default=text("0"))  # the last one that it was trained after
    corrections: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # likewise
    chance_share: Mapped[float] = mapped_column(server_default=text("0"))  # of what is answered while it serves, 0-1
    time_share: Mapped[float] = mapped_column(server_default=text("0"))

    __table_args__ = (
        CheckConstraint("state IN ('candidate', 'serving', 'retired', 'rejected')", name="state"),
        Index("uq_model_versions_serving", "kind", unique=True, postgresql_where=text("state = 'serving'")),
    )


class ServingChange(Base):
    """A change of who serves, and why: what `rollback` goes back to."""

    __tablename__ = "serving_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    what: Mapped[str]  # published, promoted, rolled back
    lineup: Mapped[list[int]]  # versions, best first
    back_to: Mapped[int | None]  # of a roll-back: the change whose state this restored
    made_by: Mapped[str]  # "run 12", an admin's address, "command line"
    reason: Mapped[str]

    __table_args__ = (CheckConstraint("what IN ('published', 'promoted', 'rolled back')", name="what"),)


class NetworkSettings(Base):
    """The settings that a tuning found for a kind of network: trainings from scratch take them up."""

    __tablename__ = "network_settings"

    kind: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any]]  # field of the network or of its schedule -> value
    study: Mapped[str]
    trial: Mapped[int]
    score: Mapped[float] = mapped_column(Double)  # loss on students who were in no trial
    default_score: Mapped[float] = mapped_column(Double)  # the same of the default settings
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    made_by: Mapped[str]  # "command line"


class TrainingControl(Base):
    """One row: whether trainings are paused, and which failures no longer count."""

    __tablename__ = "training_control"

    id: Mapped[int] = mapped_column(primary_key=True, server_default=text("1"))
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]  # an address, "command line", or "the service"
    reason: Mapped[str | None]
    forgiven_through: Mapped[int] = mapped_column(server_default=text("0"))  # runs up to this one

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class WriteCheck(Base):
    """One row, written anew whenever somebody asks whether the service is ready: the database takes writes."""

    __tablename__ = "write_checks"

    checked_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
