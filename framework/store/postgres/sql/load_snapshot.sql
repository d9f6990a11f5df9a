-- $1: a stream; $2, $3: the type and the version of a state's shape; $4: the last version of the stream it may be of.
-- Returns the latest there is.
SELECT s.stream, s.version, s.state_type, s.state_version, s.state, s.taken_at
  FROM snapshots AS s
 WHERE s.stream = $1
   AND s.state_type = $2
   AND s.state_version = $3
   AND s.version <= $4
   AND NOT EXISTS (SELECT FROM streams AS d WHERE d.stream = $1)
 ORDER BY s.version DESC
 LIMIT 1
