-- $1: a process; $2: instances. Returns those there are; the state of one that is finished is NULL.
SELECT instance, version, state FROM process_instances WHERE process = $1 AND instance = ANY ($2)
