-- the key type gets narrower, the counter stays
MODIFY id SMALLINT NOT NULL AUTO_INCREMENT
