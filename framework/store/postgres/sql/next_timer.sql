-- $1: a process. When the first of its timers is due; NULL if it has none.
SELECT min(due_at) FROM timers WHERE process = $1
