-- $1: a stream; $2: what is expected of it. Closes it for good if it has events and is as expected, and returns its
-- version and whether it is. The head row is locked first: an append is committed before, and seen here, or finds the
-- stream closed.
CREATE OR REPLACE FUNCTION delete_stream(stream_name text, expected bigint, OUT version bigint, OUT is_met boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    PERFORM FROM head FOR UPDATE;
    version := current_version(stream_name);
    is_met := version > 0 AND meets_expectation(expected, version);
    IF is_met THEN
        INSERT INTO streams (stream, deleted_at)
        SELECT stream_name, greatest(h.recorded_at, clock_timestamp())
          FROM head AS h
            ON CONFLICT ON CONSTRAINT streams_pkey DO NOTHING;
        DELETE FROM snapshots AS s WHERE s.stream = stream_name;
    END IF;
END
$$;
