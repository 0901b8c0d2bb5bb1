-- the key column is renamed and widened
CHANGE id key_id BIGINT NOT NULL AUTO_INCREMENT
