-- $1: how long a heartbeat lasts. Forgets the nodes that have said nothing for that long; what they held is free.
--
-- Judged again under the lock: who says at this moment that it lives, lives. One from the future was written by another
-- clock, before the database moved to a new server, and would last for ever. Two who bury at once do not wait in turn.
DELETE FROM framework_nodes.heartbeats
 WHERE node IN (
       SELECT node
         FROM framework_nodes.heartbeats
        WHERE beat_at NOT BETWEEN clock_timestamp() - $1::interval AND clock_timestamp() + $1::interval
          FOR UPDATE SKIP LOCKED
   )
RETURNING node, label
