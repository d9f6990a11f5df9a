-- $1: subscriptions; $2: how long a heartbeat lasts. Returns their slots, and with each the nodes that live and can run it.
SELECT s.name, s.slot, s.fence, s.owner,
       ARRAY(
           SELECT h.node
             FROM heartbeats AS h
            WHERE h.beat_at > clock_timestamp() - $2::interval
              AND s.name = ANY (h.names)
       ) AS nodes
  FROM slots AS s
 WHERE s.name = ANY ($1)
 ORDER BY s.name, s.slot
