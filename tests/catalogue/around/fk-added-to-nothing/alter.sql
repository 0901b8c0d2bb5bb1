-- a foreign key to a table that is not there
ADD FOREIGN KEY (p_id) REFERENCES nowhere (id)
