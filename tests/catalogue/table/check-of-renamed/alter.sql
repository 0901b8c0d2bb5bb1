-- a column under a CHECK is renamed
CHANGE b bb INT
