-- zero dates in columns that an ALTER in place does not look at
RENAME KEY k TO kk
