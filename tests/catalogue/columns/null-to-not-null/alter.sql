-- NULL becomes NOT NULL where no row has one
MODIFY a INT NOT NULL
