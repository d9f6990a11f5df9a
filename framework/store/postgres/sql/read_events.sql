-- $1: event ids. Returns the events there are under them, in the order of the log.
SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata, e.correlation_id,
       e.causation_id, e.recorded_at
  FROM events AS e
 WHERE e.event_id = ANY ($1)
 ORDER BY e.position
