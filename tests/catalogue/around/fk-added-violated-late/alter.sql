-- a foreign key that a late row breaks is added
ADD CONSTRAINT fk_new FOREIGN KEY (p_id) REFERENCES p (id), ADD COLUMN x INT
