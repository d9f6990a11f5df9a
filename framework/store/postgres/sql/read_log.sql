-- $1: the position to begin after; $2: how many at most.
-- Every row begins with the head as it was at the same moment; an empty page is one row of it, the rest NULL. Positions
-- have no gap, so there is a page exactly if the head lies beyond $1: one of the two has rows, and nothing is to be sorted.
(
    SELECT (SELECT h.position FROM head AS h) AS head, e.position, e.stream, e.version, e.event_id, e.event_type,
           e.type_version, e.data, e.metadata, e.correlation_id, e.causation_id, e.recorded_at
      FROM events AS e
     WHERE e.position > $1
     ORDER BY e.position
     LIMIT $2
)
UNION ALL
SELECT h.position, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM head AS h
 WHERE h.position <= $1
