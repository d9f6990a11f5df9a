-- $1: the name to begin behind; $2: how many names to look at; $3: what a name must contain; $4: how many streams at most.
-- Every row begins with the last name looked at, NULL where there is none; no stream found is one row of it, the rest
-- NULL. A name costs one descent of the index, however many events its stream has.
WITH RECURSIVE names (stream, number) AS (
    (SELECT e.stream, 1 FROM events AS e WHERE e.stream > $1 ORDER BY e.stream LIMIT 1)
     UNION ALL
    SELECT e.stream, n.number + 1
      FROM names AS n
     CROSS JOIN LATERAL (
         SELECT e.stream FROM events AS e WHERE e.stream > n.stream ORDER BY e.stream LIMIT 1
     ) AS e
     WHERE n.number < $2
)
SELECT l.stream AS looked_to, i.*
  FROM (SELECT max(n.stream) AS stream FROM names AS n) AS l
  LEFT JOIN LATERAL (
      SELECT n.stream FROM names AS n WHERE strpos(n.stream, $3) > 0 ORDER BY n.number LIMIT $4
  ) AS f ON true
  LEFT JOIN LATERAL describe_stream(f.stream) AS i ON true
 ORDER BY i.stream
