-- binlog_row_image = MINIMAL in the session
ADD COLUMN z INT
