-- $1: a correlation id; $2: the position to begin after; $3: how many at most.
SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata, e.correlation_id,
       e.causation_id, e.recorded_at
  FROM events AS e
 WHERE e.correlation_id = $1
   AND e.position > $2
 ORDER BY e.position
 LIMIT $3
