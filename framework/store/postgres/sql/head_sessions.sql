-- Returns the session that holds the head row, if one does, and after it those that wait for it: whether it holds it, the
-- process id of its backend, what it calls itself, since when its transaction is open, its state, and its last query; NULL
-- for what the role may not see.
--
-- Who locks a row leaves its transaction's id on it, and an open transaction holds a lock on its id. Who waits for a row
-- has locked the row's place, or waits to.
WITH sessions AS (
    SELECT true AS holds, l.pid
      FROM head AS h
      JOIN pg_locks AS l
        ON l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.transactionid = h.xmax
     UNION
    SELECT false, l.pid
      FROM pg_locks AS l
     WHERE l.locktype = 'tuple'
       AND l.relation = 'head'::regclass
       AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
)
SELECT s.holds, a.pid, a.application_name, a.xact_start, a.state, a.query
  FROM sessions AS s
  JOIN pg_stat_activity AS a USING (pid)
 ORDER BY s.holds DESC, a.xact_start
