CREATE OR REPLACE FUNCTION shadow_predictions_go() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM shadow_predictions WHERE task_id IN (SELECT id FROM old_rows);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER shadow_predictions_delete AFTER DELETE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION shadow_predictions_go();
