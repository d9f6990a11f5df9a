-- $1: what a writer expects of a stream (-1 anything, -2 that it exists, else its exact version); $2: its version.
CREATE OR REPLACE FUNCTION meets_expectation(expected bigint, version bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE expected WHEN -1 THEN true WHEN -2 THEN version > 0 ELSE version = expected END
$$;
