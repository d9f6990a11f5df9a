-- $1: a node; $2: how long a heartbeat lasts. Says that it lives, unless it was buried.
-- Returns whether it lives, the other nodes there are, and whether one of them has said nothing for too long.
WITH beat AS (
    UPDATE framework_nodes.heartbeats SET beat_at = clock_timestamp() WHERE node = $1 RETURNING node
), others AS (
    SELECT node, abs(extract(epoch FROM clock_timestamp() - beat_at)) > extract(epoch FROM $2::interval) AS is_stale
      FROM framework_nodes.heartbeats
     WHERE node <> $1
)
SELECT EXISTS (SELECT FROM beat) AS lives,
       ARRAY(SELECT node FROM others) AS others,
       EXISTS (SELECT FROM others WHERE is_stale) AS is_any_stale
