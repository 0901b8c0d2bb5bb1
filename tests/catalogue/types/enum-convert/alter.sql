-- members outside of ASCII, and another character set for the whole table, without strict mode
CONVERT TO CHARACTER SET latin1
