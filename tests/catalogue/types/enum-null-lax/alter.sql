-- NULL in an ENUM that takes none any more, without strict mode
MODIFY e ENUM('x', 'a', 'b', 'c') NOT NULL
