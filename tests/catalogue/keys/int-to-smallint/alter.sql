-- the key column gets narrower
MODIFY id SMALLINT NOT NULL AUTO_INCREMENT
