-- Answers that only come are added to a state when it is next needed; one that changes or goes spoils it.
CREATE OR REPLACE FUNCTION student_posteriors_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM old_rows WHERE completed) THEN
        RETURN NULL;
    END IF;
    DELETE FROM student_states WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER student_posteriors_update AFTER UPDATE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_spoilt();
CREATE OR REPLACE TRIGGER student_posteriors_delete AFTER DELETE ON practice_tasks
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_spoilt();
