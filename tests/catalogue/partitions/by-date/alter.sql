-- partitioned by TO_DAYS of a date in the key
ADD COLUMN z INT, ADD INDEX (a)
