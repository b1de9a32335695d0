-- Records results, counts them and adds them up, in one round trip.
--
-- The locks in the order of docs/decisions/0001: the tasks by id, their students' totals by key (the trigger), the
-- counter, which comes last so that its lock is held for no longer than the commit takes. One row for each that is
-- asked, in order; `asked` holds no id twice. Where nobody is named, a console asks, which may do all.
CREATE OR REPLACE FUNCTION complete_tasks(
    asked uuid[], correct boolean[], seconds double precision[], students uuid[], keys bytea[]
) RETURNS TABLE (admitted boolean, since_training integer, task practice_tasks) LANGUAGE plpgsql
-- Else each call plans anew, which takes longer than what is planned; and what was planned for a new, small table
-- would read all of a large one.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    let_in boolean[];
    schools uuid[];  -- of keys that see nobody else's students
    done uuid[];
    since integer;
BEGIN
    -- A key sees of students with an account what its school recorded, while they allow that.
    SELECT array_agg(caller.let_in), array_agg(caller.school), array_agg(caller.seen) INTO let_in, schools, asked
    FROM (
        SELECT
            CASE
                WHEN student IS NOT NULL THEN EXISTS (SELECT FROM users WHERE id = student)
                WHEN key IS NOT NULL THEN key_hash IS NOT NULL AND (revoked_at IS NULL OR revoked_at > now())
                ELSE true END AS let_in,
            CASE WHEN own_students THEN service_keys.school_id END AS school,
            CASE WHEN key IS NULL OR NOT EXISTS (
                SELECT FROM practice_tasks AS open JOIN users ON users.id = open.user_id
                WHERE open.id = task_id AND NOT EXISTS (
                    SELECT FROM allowed_schools AS allowed
                    WHERE allowed.user_id = users.id AND allowed.school_id = open.school_id
                        AND allowed.school_id = service_keys.school_id)
            ) THEN task_id END AS seen
        FROM unnest(asked, students, keys) WITH ORDINALITY AS named (task_id, student, key, place)
        LEFT JOIN service_keys ON key_hash = key
        ORDER BY place
    ) AS caller;
    IF cardinality(asked) > 1 THEN
        -- Who is not alone does not wait for long: one by one they wait for nobody else's lock.
        PERFORM set_config('lock_timeout', '100ms', true);
        PERFORM FROM practice_tasks WHERE id = ANY (asked) AND NOT completed ORDER BY id FOR UPDATE;
    END IF;
    -- The row lock makes a result count once: a second one waits here and then finds the task completed.
    -- A task never counts as finished before it was asked, whatever the clock did meanwhile.
    WITH finished AS (
        UPDATE practice_tasks AS open
        SET completed = true, is_correct = result.is_correct, actual_time_seconds = result.seconds,
            completed_at = greatest(now(), open.created_at + interval '1 microsecond')
        FROM unnest(asked, correct, seconds, students, schools, let_in)
            AS result (id, is_correct, seconds, student, school, admitted)
        WHERE open.id = result.id AND open.id = ANY (asked) AND NOT open.completed AND result.admitted
            AND (result.student IS NULL OR open.user_id = result.student)
            AND (result.school IS NULL OR open.school_id = result.school)
        RETURNING open.id
    )
    SELECT array_agg(id) FROM finished INTO done;
    IF done IS NOT NULL THEN
        -- Ops may have emptied the row or the column, so it is made anew rather than missed.
        INSERT INTO embedding_model_tracker AS tracker (id, n_samples_since_training) VALUES (1, cardinality(done))
        ON CONFLICT (id) DO UPDATE SET
            n_samples_since_training = coalesce(tracker.n_samples_since_training, 0)
                + excluded.n_samples_since_training,
            updated_at = timezone('utc', now())
        RETURNING n_samples_since_training INTO since;
    END IF;
    RETURN QUERY
        SELECT caller.admitted, CASE WHEN stored.id = ANY (done) THEN since END, stored
        FROM unnest(asked, students, schools, let_in) WITH ORDINALITY AS caller (id, student, school, admitted, place)
        LEFT JOIN practice_tasks AS stored ON stored.id = caller.id AND stored.id = ANY (asked) AND caller.admitted
            AND (caller.student IS NULL OR stored.user_id = caller.student)
            AND (caller.school IS NULL OR stored.school_id = caller.school)
        ORDER BY place;
END $$;
