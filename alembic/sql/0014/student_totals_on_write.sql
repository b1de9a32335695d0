-- Adds finished tasks to the totals, and keeps them right where a task is corrected.
--
-- Totals are summed per statement, so a million imported rows cost one pass. Rows are written in key order: two
-- sessions that touch the same students wait for each other instead of deadlocking. Times add up as whole microseconds,
-- as in app/ml/features/history.py: nothing is left over when what was added is taken away.
CREATE OR REPLACE FUNCTION student_totals_on_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    corrected boolean := false;
BEGIN
    -- An import adds up what it brings by itself (app/crud/imported_totals.py).
    IF TG_OP = 'INSERT' AND current_setting('smartstudy.totals_of_import', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        corrected := EXISTS (SELECT FROM old_rows WHERE completed);
    END IF;
    IF NOT corrected THEN
        -- A task that is only asked, as every POST inserts it, adds nothing and need not be grouped.
        IF NOT EXISTS (SELECT FROM new_rows WHERE completed) THEN
            RETURN NULL;
        END IF;
        -- Each row is read once, not once for every scope. grouping() has a bit for each column that a group leaves out.
        INSERT INTO student_totals AS total
            (user_id, scope, key, n, n_correct, microseconds, last_at, last_id, last_correct, last_seconds)
        SELECT user_id, scope, key, n, n_correct, micros,
            (last).completed_at, (last).id, (last).is_correct, (last).seconds
        FROM (
            SELECT user_id,
                CASE grouping(topic, difficulty, item_id)
                    WHEN 7 THEN 'all' WHEN 3 THEN 'topic' WHEN 5 THEN 'difficulty' ELSE 'item' END AS scope,
                CASE grouping(topic, difficulty, item_id)
                    WHEN 7 THEN '' WHEN 3 THEN topic WHEN 5 THEN difficulty ELSE item_id END AS key,
                count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct,
                sum(round(least(actual_time_seconds, 1e6) * 1e6)::bigint) AS micros,
                (max(ARRAY[ROW(completed_at, id, is_correct, actual_time_seconds)::last_task]))[1] AS last
            FROM new_rows
            WHERE completed
            GROUP BY GROUPING SETS ((user_id), (user_id, topic), (user_id, difficulty), (user_id, item_id))
        ) AS added
        WHERE key IS NOT NULL
        ORDER BY user_id, scope, key
        ON CONFLICT (user_id, scope, key) DO UPDATE SET
            n = total.n + excluded.n,
            n_correct = total.n_correct + excluded.n_correct,
            microseconds = total.microseconds + excluded.microseconds,
            (last_at, last_id, last_correct, last_seconds) = (
                SELECT (newer).completed_at, (newer).id, (newer).is_correct, (newer).seconds
                FROM (SELECT greatest(
                    ROW(total.last_at, total.last_id, total.last_correct, total.last_seconds)::last_task,
                    ROW(excluded.last_at, excluded.last_id, excluded.last_correct, excluded.last_seconds)::last_task
                ) AS newer) AS of_both);
        RETURN NULL;
    END IF;
    -- Where something is taken away, `changed_at` of all tells whoever remembers what the student's results say: sums
    -- may be what they were after two corrections.
    INSERT INTO student_totals AS total
        (user_id, scope, key, n, n_correct, microseconds, last_at, last_id, last_correct, last_seconds)
    SELECT user_id, scope, key, n, n_correct, micros,
        (last).completed_at, (last).id, (last).is_correct, (last).seconds
    FROM (
        SELECT user_id, scope, key, sum(sign) AS n, sum(sign * is_correct::int) AS n_correct,
            sum(sign * micros) AS micros, (max(ARRAY[task]))[1] AS last,
            max(ARRAY[task]) FILTER (WHERE sign > 0)
                IS DISTINCT FROM max(ARRAY[task]) FILTER (WHERE sign < 0) AS moved
        FROM (SELECT 1 AS sign, * FROM new_rows UNION ALL SELECT -1 AS sign, * FROM old_rows) AS changed
        CROSS JOIN LATERAL (SELECT round(least(actual_time_seconds, 1e6) * 1e6)::bigint AS micros,
            ROW(completed_at, id, is_correct, actual_time_seconds)::last_task AS task) AS exact
        CROSS JOIN LATERAL (VALUES ('all', ''), ('topic', topic), ('difficulty', difficulty), ('item', item_id))
            AS scopes (scope, key)
        WHERE completed AND key IS NOT NULL
        GROUP BY user_id, scope, key
    ) AS difference
    WHERE scope = 'all' OR n <> 0 OR n_correct <> 0 OR micros <> 0 OR moved
    ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds,
        changed_at = excluded.changed_at,
        (last_at, last_id, last_correct, last_seconds) = (
            SELECT (newer).completed_at, (newer).id, (newer).is_correct, (newer).seconds
            FROM (SELECT greatest(
                ROW(total.last_at, total.last_id, total.last_correct, total.last_seconds)::last_task,
                ROW(excluded.last_at, excluded.last_id, excluded.last_correct, excluded.last_seconds)::last_task
            ) AS newer) AS of_both);
    DELETE FROM student_totals WHERE n = 0 AND user_id IN (SELECT user_id FROM old_rows WHERE completed);
    -- What was last may have gone or changed; nothing that is left is newer than it was.
    UPDATE student_totals SET (last_at, last_id, last_correct, last_seconds) = (
        SELECT completed_at, id, is_correct, seconds FROM last_task_of(user_id, scope, key, last_at))
    WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed) AND last_id IN (SELECT id FROM old_rows);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER student_totals_insert AFTER insert ON practice_tasks
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION student_totals_on_write();
CREATE OR REPLACE TRIGGER student_totals_update AFTER update ON practice_tasks
    REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION student_totals_on_write();
