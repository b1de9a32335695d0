CREATE OR REPLACE FUNCTION student_posteriors_spoilt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM student_states WHERE user_id IN (SELECT user_id FROM old_rows WHERE completed);
    RETURN NULL;
END $$;
