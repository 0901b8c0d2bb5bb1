-- a foreign key is dropped
DROP FOREIGN KEY fk_p
