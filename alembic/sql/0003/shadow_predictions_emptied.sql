CREATE OR REPLACE FUNCTION shadow_predictions_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE shadow_predictions;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER shadow_predictions_truncate AFTER TRUNCATE ON practice_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION shadow_predictions_emptied();
