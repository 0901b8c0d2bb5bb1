-- CHANGE with another place
CHANGE b bb VARCHAR(50) FIRST
