-- $1: a stream; $2: a moment. Returns the version of its last event recorded then or before, 0 if there is none, and
-- whether it is deleted.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, current_version($1)
     UNION ALL
    SELECT CASE WHEN e.recorded_at <= $2 THEN e.version ELSE s.low END,
           CASE WHEN e.recorded_at <= $2 THEN s.high ELSE e.version - 1 END
      FROM search AS s
      JOIN events AS e ON e.stream = $1 AND e.version = (s.low + s.high + 1) / 2
     WHERE s.low < s.high
)
SELECT s.low AS version, EXISTS (SELECT FROM streams AS d WHERE d.stream = $1) AS is_deleted
  FROM search AS s
 WHERE s.low = s.high
