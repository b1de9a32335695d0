CREATE OR REPLACE FUNCTION student_totals_on_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM new_rows WHERE completed) THEN
        RETURN NULL;
    END IF;
    INSERT INTO student_totals AS total (user_id, scope, key, n, n_correct, microseconds)
    SELECT user_id, scope, key, n, n_correct, micros
    FROM (
        SELECT user_id,
            CASE grouping(topic, difficulty, item_id)
                WHEN 7 THEN 'all' WHEN 3 THEN 'topic' WHEN 5 THEN 'difficulty' ELSE 'item' END AS scope,
            CASE grouping(topic, difficulty, item_id)
                WHEN 7 THEN '' WHEN 3 THEN topic WHEN 5 THEN difficulty ELSE item_id END AS key,
            count(*) AS n, count(*) FILTER (WHERE is_correct) AS n_correct,
            sum(round(least(actual_time_seconds, 1e6) * 1e6)::bigint) AS micros
        FROM new_rows
        WHERE completed
        GROUP BY GROUPING SETS ((user_id), (user_id, topic), (user_id, difficulty), (user_id, item_id))
    ) AS added
    WHERE key IS NOT NULL
    ORDER BY user_id, scope, key
    ON CONFLICT (user_id, scope, key) DO UPDATE SET
        n = total.n + excluded.n,
        n_correct = total.n_correct + excluded.n_correct,
        microseconds = total.microseconds + excluded.microseconds;
    RETURN NULL;
END $$;
