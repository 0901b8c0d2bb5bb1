-- a foreign key is added on a column that the same ALTER renames
CHANGE q p_id INT, ADD CONSTRAINT fk_q FOREIGN KEY k_q (p_id) REFERENCES p (id)
