"""LNIRT: what each student's answers say, the intervals of a prediction, and why not the network answered."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"

PREDICTED = ("correctness_prob_low", "correctness_prob_high", "time_low_seconds", "time_high_seconds")

# Answers that only come are added to a posterior when it is next needed; one that changes or goes spoils it.
SPOILT = """
CREATE FUNCTION student_posteriors_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM student_posteriors WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;
CREATE TRIGGER student_posteriors_update AFTER UPDATE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_spoilt();
CREATE TRIGGER student_posteriors_delete AFTER DELETE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_spoilt();
CREATE FUNCTION student_posteriors_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE student_posteriors;
    RETURN NULL;
END $$;
CREATE TRIGGER student_posteriors_truncate AFTER TRUNCATE ON practice_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_emptied();
"""


def upgrade() -> None:
    for name in PREDICTED:
        op.add_column("practice_tasks", sa.Column(name, sa.Float(53)))
    op.add_column("practice_tasks", sa.Column("fallback_reason", sa.Text))
    op.create_table(
        "student_posteriors",
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("version_id", sa.Integer, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("through", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_student_posteriors"),
    )
    op.execute(SPOILT)


def downgrade() -> None:
    for event in ("update", "delete", "truncate"):
        op.execute(f"DROP TRIGGER student_posteriors_{event} ON practice_tasks")
    for function in ("spoilt", "emptied"):
        op.execute(f"DROP FUNCTION student_posteriors_{function}()")
    op.drop_table("student_posteriors")
    for name in (*PREDICTED, "fallback_reason"):
        op.drop_column("practice_tasks", name)
