-- a foreign key whose columns have other types
ADD FOREIGN KEY (p_id) REFERENCES p (id)
