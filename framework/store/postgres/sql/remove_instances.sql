-- $1: a process; $2: instances.
DELETE FROM process_instances WHERE process = $1 AND instance = ANY ($2)
