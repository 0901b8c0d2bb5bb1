-- binlog_row_image = NOBLOB in the session
ADD COLUMN z INT
