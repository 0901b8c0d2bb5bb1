-- the key column gets wider
MODIFY id BIGINT NOT NULL AUTO_INCREMENT
