CREATE OR REPLACE FUNCTION student_totals_on_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE student_totals;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER student_totals_truncate AFTER TRUNCATE ON practice_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION student_totals_on_truncate();
