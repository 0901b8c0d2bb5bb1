-- into the system tablespace
TABLESPACE = innodb_system
