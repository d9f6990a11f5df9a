-- $1: subscriptions, NULL for all; $2: how long a heartbeat lasts. Returns their slots.
SELECT s.name, s.slot, s.position, s.fence, s.owner,
       EXISTS (
           SELECT
             FROM members AS m
             JOIN framework_nodes.heartbeats AS h ON h.node = m.node
            WHERE m.member = s.owner
              AND m.name = s.name
              AND h.beat_at > clock_timestamp() - $2::interval
       ) AS is_owned
  FROM slots AS s
 WHERE $1::text[] IS NULL
    OR s.name = ANY ($1)
 ORDER BY s.name, s.slot
