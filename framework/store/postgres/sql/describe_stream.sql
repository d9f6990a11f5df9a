-- $1: a stream. Returns what is known of it, deleted or not; no row if it has no events.
CREATE OR REPLACE FUNCTION describe_stream(stream_name text)
RETURNS TABLE (
    stream         text,
    version        bigint,
    first_position bigint,
    last_position  bigint,
    created_at     timestamptz,
    changed_at     timestamptz,
    deleted_at     timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT l.stream, l.version, f.position, l.position, f.recorded_at, l.recorded_at, d.deleted_at
      FROM (SELECT e.* FROM events AS e WHERE e.stream = stream_name ORDER BY e.version DESC LIMIT 1) AS l
      JOIN events AS f ON f.stream = l.stream AND f.version = 1
      LEFT JOIN streams AS d ON d.stream = l.stream
$$;
