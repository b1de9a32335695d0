-- Takes deleted tasks out of the totals; see student_totals_on_write.sql.
CREATE OR REPLACE FUNCTION student_totals_on_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO student_totals AS total (user_id, scope, key, n, n_correct, microseconds)
    SELECT user_id, scope, key, -count(*), -count(*) FILTER (WHERE is_correct), -sum(micros)
    FROM old_rows
    CROSS JOIN LATERAL (SELECT round(least(actual_time_seconds, 1e6) * 1e6)::bigint AS micros) AS exact
    CROSS JOIN LATERAL (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id))
        AS scopes (scope, key)
    WHERE completed AND key IS NOT NULL
    GROUP BY user_id, scope, key
    ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds,
        changed_at = excluded.changed_at;
    DELETE FROM student_totals WHERE n = 0 AND user_id IN (SELECT user_id FROM old_rows WHERE completed);
    UPDATE student_totals SET (last_at, last_id, last_correct, last_seconds) = (
        SELECT completed_at, id, is_correct, seconds FROM last_task_of(user_id, scope, key, last_at))
    WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed) AND last_id IN (SELECT id FROM old_rows);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER student_totals_delete AFTER delete ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION student_totals_on_delete();
