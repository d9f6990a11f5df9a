-- $1: the position to begin after; $2: how many at most; $3: the last position to look at; $4: event types;
-- $5: how the names of streams begin; $6: the position up to which all events are gone through.
-- Every row begins with the head as it was at the same moment; an empty page is one row of it, the rest NULL.
-- Where many of the events are wanted, the log is the way along them, and where few are, the index by type. Which it is,
-- no statistics tell: a plan made of old ones would sort all there is for every page. So what is near is gone through, and
-- if that is not enough, then of what is beyond a page at most of each type is read, in the order of its index. What no
-- index could be used for, or no other, is written so that this cannot change.
SELECT h.position AS head, e.*
  FROM head AS h
  LEFT JOIN LATERAL (
      WITH near AS MATERIALIZED (
          SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
                 e.correlation_id, e.causation_id, e.recorded_at
            FROM events AS e
           WHERE e.position > $1
             AND e.position <= least($3::bigint, $6::bigint)
             AND (e.event_type = ANY ($4)) IS TRUE
             AND starts_with(e.stream, $5)
           ORDER BY e.position
           LIMIT $2
      )
      SELECT n.* FROM near AS n
      UNION ALL
      SELECT f.*
        FROM (SELECT DISTINCT unnest($4::text[]) AS event_type) AS wanted
       CROSS JOIN LATERAL (
          SELECT e.position, e.stream, e.version, e.event_id, e.event_type, e.type_version, e.data, e.metadata,
                 e.correlation_id, e.causation_id, e.recorded_at
            FROM events AS e
           WHERE (e.event_type, e.position) > (wanted.event_type, $6)
             AND (e.event_type, e.position) <= (wanted.event_type, $3)
             AND starts_with(e.stream, $5)
           ORDER BY e.event_type, e.position
           LIMIT $2
       ) AS f
       WHERE h.position > $6
         AND (SELECT count(*) FROM near) < $2
       ORDER BY position
       LIMIT $2
  ) AS e ON true
 ORDER BY e.position
