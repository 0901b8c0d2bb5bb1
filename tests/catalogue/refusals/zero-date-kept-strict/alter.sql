-- zero dates in a column that stays, under strict mode
MODIFY b BIGINT
