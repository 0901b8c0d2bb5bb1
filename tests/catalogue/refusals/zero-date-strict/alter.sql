-- zero dates under strict mode
MODIFY a DATETIME
