-- $1: schemas. Returns those in which slots were ever given back or joined for, each with how often.
SELECT schema, number FROM framework_nodes.changes WHERE schema = ANY ($1)
