-- only the case of the letters
CHANGE b B VARCHAR(40)
