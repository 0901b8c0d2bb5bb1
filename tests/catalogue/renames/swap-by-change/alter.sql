-- two columns swap names by CHANGE
CHANGE a u INT, CHANGE u a INT NOT NULL
