-- $1: a process; $2, $3: how many slots it has, and one of them, NULL for all. When the first of its timers is due; NULL if
-- it has none.
SELECT min(due_at) FROM timers WHERE process = $1 AND ($3::integer IS NULL OR hash % $2::integer = $3)
