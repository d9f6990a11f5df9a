-- $1: a moment. Returns the last position recorded then or before, 0 if there is none. Positions have no gaps and their
-- times never go back, so that halving what is left finds it without an index of times.
WITH RECURSIVE search (low, high) AS (
    SELECT 0::bigint, h.position
      FROM head AS h
     UNION ALL
    SELECT CASE WHEN e.recorded_at <= $1 THEN e.position ELSE s.low END,
           CASE WHEN e.recorded_at <= $1 THEN s.high ELSE e.position - 1 END
      FROM search AS s
      JOIN events AS e ON e.position = (s.low + s.high + 1) / 2
     WHERE s.low < s.high
)
SELECT s.low AS position FROM search AS s WHERE s.low = s.high
