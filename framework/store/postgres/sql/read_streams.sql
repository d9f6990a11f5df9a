-- $1: streams; $2, $3: for each the version to begin after and the one to end with; $4: how many of each at most.
-- Every row begins with the number of its stream in $1, counted from 1. No row for a stream without such events.
SELECT s.number, e.*
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS s (stream, after, until, number)
 CROSS JOIN LATERAL (
     SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
            e.correlation_id, e.causation_id, e.recorded_at
       FROM events AS e
      WHERE e.stream = s.stream
        AND e.version > s.after
        AND e.version <= s.until
      ORDER BY e.version
      LIMIT $4
 ) AS e
 ORDER BY s.number, e.version
