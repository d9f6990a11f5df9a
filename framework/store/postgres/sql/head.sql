-- Returns the last position of the log and the log's id.
SELECT position, log_id FROM head
