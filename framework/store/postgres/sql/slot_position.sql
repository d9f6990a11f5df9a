-- $1, $2, $3: name, number and fence of a slot. No row: it has another fence, or is not there.
--
-- Behind whoever has the row: a transaction whose connection was lost while it committed may yet move the slot.
SELECT position FROM slots WHERE name = $1 AND slot = $2 AND fence = $3 FOR UPDATE
