-- VARCHAR that is no number, without strict mode
MODIFY c INT
