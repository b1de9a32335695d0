CREATE OR REPLACE FUNCTION student_posteriors_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE student_posteriors;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER student_posteriors_truncate AFTER TRUNCATE ON practice_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION student_posteriors_emptied();
