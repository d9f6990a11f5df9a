-- Streams by their last event: $1, $2: look at the positions above the one and up to the other; $3: what a name must contain;
-- $4: how many at most; $5: 1 for those at the lowest positions, -1 for those at the highest.
SELECT i.*
  FROM (
      SELECT e.position, e.stream
        FROM events AS e
       WHERE e.position > $1
         AND e.position <= $2
         -- Not NOT EXISTS, which the planner may answer by reading the whole index.
         AND (SELECT n.version FROM events AS n WHERE n.stream = e.stream AND n.version = e.version + 1) IS NULL
         AND strpos(e.stream, $3) > 0
       ORDER BY e.position * $5
       LIMIT $4
  ) AS f
 CROSS JOIN LATERAL describe_stream(f.stream) AS i
 ORDER BY f.position * $5
