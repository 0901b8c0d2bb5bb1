-- NULL and numbers become an ENUM with a member '' that takes no NULL, without strict mode
MODIFY a ENUM('', 'A b', 'c') CHARACTER SET latin1 NOT NULL, MODIFY b ENUM('', '2', 'c') NOT NULL, MODIFY c ENUM('', 'x', 'c') NOT NULL
