-- primary and unique key change roles
MODIFY id INT NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (u), DROP KEY u
