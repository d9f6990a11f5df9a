-- $1: a process. Its instances that somebody has asked to stop.
SELECT instance FROM process_instances WHERE process = $1 AND asked_to_stop ORDER BY instance
