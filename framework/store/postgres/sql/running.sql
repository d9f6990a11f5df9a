-- $1: how long a heartbeat lasts. Returns the subscriptions that a process which lives can run, as they are recorded.
SELECT s.name, s.definition
  FROM subscriptions AS s
 WHERE EXISTS (
           SELECT
             FROM members AS m
             JOIN framework_nodes.heartbeats AS h ON h.node = m.node
            WHERE m.name = s.name
              AND h.beat_at > clock_timestamp() - $1::interval
       )
 ORDER BY s.name
