-- a column is added with REFERENCES in its definition
ADD COLUMN p_id INT DEFAULT 2 REFERENCES p (id) ON DELETE CASCADE, ADD COLUMN x INT
