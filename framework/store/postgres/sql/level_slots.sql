-- $1: a subscription; $2, $3: slots, and how far they have come in truth. Has its slots, which are held, run up to the
-- furthest of them. Returns whether all have come there, and whether that is another place than before; to how many slots
-- they are to be cut, the place, and a fence.
-- No row: they are not held, or somebody runs them.
--
-- Behind what comes again, too: that differs by slot, and no slot could say it of keys from two.
WITH held AS (
    SELECT name, level_at, (definition ->> 'partitions')::integer AS partitions
      FROM subscriptions
     WHERE name = $1
       AND is_held
       FOR UPDATE
), locked AS (
    SELECT s.slot, greatest(s.position, t.position) AS position, s.replayed_to,
           EXISTS (
               SELECT
                 FROM members AS m
                 JOIN framework_nodes.heartbeats AS h ON h.node = m.node
                WHERE m.member = s.owner
                  AND m.name = s.name
           ) AS is_run
      FROM held AS h
      JOIN slots AS s ON s.name = h.name
      LEFT JOIN unnest($2::integer[], $3::bigint[]) AS t (slot, position) ON t.slot = s.slot
     ORDER BY s.slot
       FOR UPDATE OF s
), furthest AS (
    SELECT max(greatest(position, replayed_to)) AS position, min(position) AS nearest
      FROM locked
    HAVING NOT bool_or(is_run)
), goal AS (
    SELECT h.name, h.partitions, f.position, f.nearest = f.position AS is_level,
           h.level_at IS DISTINCT FROM f.position AS is_new
      FROM furthest AS f, held AS h
), moved AS (
    UPDATE slots AS s
       SET position = l.position
      FROM locked AS l, goal AS g
     WHERE s.name = g.name
       AND s.slot = l.slot
       AND s.position < l.position
), told AS (
    INSERT INTO framework_nodes.changes AS c (schema, number)
    SELECT current_schema(), 1 FROM goal WHERE is_new AND NOT is_level
        ON CONFLICT ON CONSTRAINT changes_pkey DO UPDATE SET number = c.number + 1
)
UPDATE subscriptions AS u
   SET level_at  = g.position,
       cut_fence = CASE WHEN g.is_level AND NOT g.is_new THEN coalesce(u.cut_fence, nextval('first_fences'))
                        WHEN g.is_level THEN nextval('first_fences') END
  FROM goal AS g
 WHERE u.name = g.name
RETURNING g.is_level, g.is_new, g.partitions, g.position, u.cut_fence
