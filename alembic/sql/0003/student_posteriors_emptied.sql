CREATE OR REPLACE FUNCTION student_posteriors_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE student_states;
    RETURN NULL;
END $$;
