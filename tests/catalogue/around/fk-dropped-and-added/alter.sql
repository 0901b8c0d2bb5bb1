-- a foreign key is replaced
DROP FOREIGN KEY fk_p, ADD CONSTRAINT fk_q FOREIGN KEY (p_id) REFERENCES p (id) ON DELETE CASCADE
