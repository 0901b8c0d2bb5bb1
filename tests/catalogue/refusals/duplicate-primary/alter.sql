-- duplicates for the new primary key
DROP PRIMARY KEY, ADD PRIMARY KEY (a), MODIFY id INT NOT NULL, ADD UNIQUE KEY (id)
