-- The newest tasks of a student on a topic, the newest first, among so many from this moment on backwards; by the index,
-- see last_task_of.sql.
CREATE OR REPLACE FUNCTION newest_on_topic(student uuid, of_topic text, until timestamptz, most integer, among integer)
RETURNS TABLE (difficulty text, is_correct boolean, completed_at timestamptz)
LANGUAGE sql STABLE SET enable_sort = off SET enable_bitmapscan = off AS $$
    SELECT since.difficulty, since.is_correct, since.completed_at
    FROM (SELECT * FROM practice_tasks AS task
          WHERE task.user_id = student AND task.completed AND task.completed_at <= until
          ORDER BY task.completed_at DESC, task.id DESC LIMIT among) AS since
    WHERE since.topic = of_topic LIMIT most
$$;
