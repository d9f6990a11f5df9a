-- $1: a stream. Returns the version of its last event, 0 if it has none.
CREATE OR REPLACE FUNCTION current_version(stream_name text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT e.version FROM events AS e WHERE e.stream = stream_name ORDER BY e.version DESC LIMIT 1), 0);
END
$$;
