-- the empty error value of an ENUM, without strict mode
MODIFY c ENUM('b','a')
