-- $1: the position to begin after; $2: how many at most; $3: the last position to look at; $4: event types;
-- $5: how the names of streams begin.
-- Every row begins with the head as it was at the same moment; an empty page is one row of it, the rest NULL.
SELECT h.position AS head, e.*
  FROM head AS h
  LEFT JOIN LATERAL (
      SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
             e.correlation_id, e.causation_id, e.recorded_at
        FROM events AS e
       WHERE e.position > $1
         AND e.position <= $3
         AND e.event_type = ANY ($4)
         AND starts_with(e.stream, $5)
       ORDER BY e.position
       LIMIT $2
  ) AS e ON true
 ORDER BY e.position
