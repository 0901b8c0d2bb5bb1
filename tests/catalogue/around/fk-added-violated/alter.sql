-- a foreign key that rows break is added
ADD CONSTRAINT fk_new FOREIGN KEY (p_id) REFERENCES p (id)
