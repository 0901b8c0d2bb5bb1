-- a foreign key is added
ADD CONSTRAINT fk_new FOREIGN KEY (p_id) REFERENCES p (id)
