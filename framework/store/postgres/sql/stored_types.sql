-- Which types and versions the log holds, how many events of each, and from where to where.
-- No rows: the log is empty. Reads the whole log.
SELECT event_type       AS type,
       type_version     AS type_version,
       count(*)         AS events,
       min(position)    AS first,
       max(position)    AS last
  FROM events
 GROUP BY event_type, type_version
 ORDER BY event_type, type_version
