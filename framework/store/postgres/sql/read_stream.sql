-- $1: a stream; $2: the version to begin after; $3: the version to end with; $4: how many at most.
-- No rows for a stream without such events.
SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata, e.correlation_id,
       e.causation_id, e.recorded_at
  FROM events AS e
 WHERE e.stream = $1
   AND e.version > $2
   AND e.version <= $3
 ORDER BY e.version
 LIMIT $4
