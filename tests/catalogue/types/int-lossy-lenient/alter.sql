-- values cut to the range, without strict mode
MODIFY c TINYINT
