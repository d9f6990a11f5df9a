-- $1: a process; $2: an instance; $3: how many at most. Those named above it that are not finished, in order.
SELECT instance, version, state FROM process_instances WHERE process = $1 AND instance > $2 AND state IS NOT NULL
 ORDER BY instance
 LIMIT $3
