-- $1: streams; $2, $3: for each the version to begin after and the one to end with; $4: how many of each at most.
-- Every row begins with the number of its stream in $1, counted from 1. No row for a stream without such events; one of
-- version 0 for a deleted stream.
SELECT s.number, e.*
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS s (stream, after, until, number)
  LEFT JOIN streams AS d ON d.stream = s.stream
 CROSS JOIN LATERAL (
     (
         SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
                e.correlation_id, e.causation_id, e.recorded_at
           FROM events AS e
          WHERE e.stream = s.stream
            AND e.version > s.after
            AND e.version <= s.until
            AND d.stream IS NULL
          ORDER BY e.version
          LIMIT $4
     )
     UNION ALL
     SELECT 0, d.stream, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
      WHERE d.stream IS NOT NULL
 ) AS e
 ORDER BY s.number, e.version
