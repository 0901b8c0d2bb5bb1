-- partitioned by UNIX_TIMESTAMP
ADD COLUMN z INT
