-- $1: how long a heartbeat lasts. Returns the subscriptions that a process which lives can run, as they are recorded.
SELECT s.name, s.definition
  FROM subscriptions AS s
 WHERE EXISTS (
           SELECT FROM heartbeats AS h WHERE h.beat_at > clock_timestamp() - $1::interval AND s.name = ANY (h.names)
       )
 ORDER BY s.name
