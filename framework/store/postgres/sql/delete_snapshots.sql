-- $1: a stream; $2: the last version whose snapshots go.
DELETE FROM snapshots WHERE stream = $1 AND version <= $2
