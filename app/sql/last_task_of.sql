-- The task of a total that was finished last, at this moment or before. PostgreSQL, which takes all students for average
-- ones, would sort a long history: here it reads the index backwards.
CREATE OR REPLACE FUNCTION last_task_of(student uuid, of_scope text, of_key text, until timestamptz) RETURNS last_task
LANGUAGE sql STABLE SET enable_sort = off SET enable_bitmapscan = off AS $$
    SELECT ROW(completed_at, id, is_correct, actual_time_seconds)::last_task FROM practice_tasks
    WHERE user_id = student AND completed AND completed_at <= until
        AND of_key = CASE of_scope WHEN 'topic' THEN topic WHEN 'difficulty' THEN difficulty
                                   WHEN 'item' THEN item_id ELSE '' END
    ORDER BY completed_at DESC, id DESC LIMIT 1
$$;
