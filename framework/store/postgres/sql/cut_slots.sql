-- $1: a subscription; $2: to how many slots; $3: where all of them stand; $4: the fence that was drawn for it. Cuts them.
-- No row: something has changed since, and nothing was done.
WITH held AS (
    SELECT name
      FROM subscriptions
     WHERE name = $1
       AND is_held
       AND cut_fence = $4
       FOR UPDATE
), locked AS (
    SELECT s.slot,
           s.position = $3 AND NOT EXISTS (
               SELECT
                 FROM members AS m
                 JOIN framework_nodes.heartbeats AS h ON h.node = m.node
                WHERE m.member = s.owner
                  AND m.name = s.name
           ) AS is_ready
      FROM held AS h
      JOIN slots AS s ON s.name = h.name
     ORDER BY s.slot
       FOR UPDATE OF s
), due AS (
    SELECT count(*) AS slots FROM locked HAVING bool_and(is_ready)
), kept AS (
    UPDATE slots AS s
       SET fence = nextval('first_fences'), owner = NULL, replayed_to = 0
      FROM due
     WHERE s.name = $1
       AND s.slot < $2
), gone AS (
    DELETE FROM slots AS s USING due WHERE s.name = $1 AND s.slot >= $2
), made AS (
    INSERT INTO slots (name, slot, position, fence)
    SELECT $1, n, $3, nextval('first_fences') FROM due, generate_series(due.slots, $2 - 1) AS n
), unsaid AS (
    DELETE FROM reports AS r USING due WHERE r.name = $1 AND r.slot >= $2
), told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number) SELECT current_schema(), 1 FROM due
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE subscriptions AS u
   SET is_held = false, level_at = NULL, cut_fence = NULL
  FROM due
 WHERE u.name = $1
RETURNING u.name
