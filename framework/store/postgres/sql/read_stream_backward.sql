-- $1: a stream; $2: the version to begin before; $3: how many at most.
-- No rows for a stream without such events; one of version 0 for a deleted stream.
(
    SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
           e.correlation_id, e.causation_id, e.recorded_at
      FROM events AS e
     WHERE e.stream = $1
       AND e.version < $2
       AND (SELECT d.stream FROM streams AS d WHERE d.stream = $1) IS NULL
     ORDER BY e.version DESC
     LIMIT $3
)
UNION ALL
SELECT 0, d.stream, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM streams AS d
 WHERE d.stream = $1
