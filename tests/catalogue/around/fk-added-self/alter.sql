-- a foreign key to the table itself is added
ADD CONSTRAINT fk_up FOREIGN KEY (up) REFERENCES t (id) ON DELETE SET NULL
