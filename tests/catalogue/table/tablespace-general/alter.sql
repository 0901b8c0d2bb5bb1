-- into a file of its own
TABLESPACE = innodb_file_per_table
