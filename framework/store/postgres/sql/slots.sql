-- $1: subscriptions, NULL for all; $2: how long a heartbeat lasts. Returns their slots.
SELECT s.name, s.slot, s.position, s.fence, s.owner,
       EXISTS (
           SELECT FROM heartbeats AS h WHERE h.node = s.owner AND h.beat_at > clock_timestamp() - $2::interval
       ) AS is_owned
  FROM slots AS s
 WHERE $1::text[] IS NULL
    OR s.name = ANY ($1)
 ORDER BY s.name, s.slot
