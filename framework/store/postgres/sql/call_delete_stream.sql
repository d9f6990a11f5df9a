-- Runs delete_stream; $1, $2 are its arguments.
SELECT version, is_met FROM delete_stream($1, $2)
