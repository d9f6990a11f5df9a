-- Waits for the transaction that holds the head row to end, and keeps others from beginning, until this one ends.
SELECT FROM head FOR SHARE
