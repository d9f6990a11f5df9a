-- $1: a process; $2: an instance. No row: it does not run.
UPDATE process_instances SET asked_to_stop = true WHERE process = $1 AND instance = $2 AND state IS NOT NULL RETURNING instance
