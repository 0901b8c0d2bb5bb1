-- dropped and added under the same name: new values
DROP COLUMN a, ADD COLUMN a INT DEFAULT 3
