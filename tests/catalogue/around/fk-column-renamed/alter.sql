-- the column of a foreign key is renamed
RENAME COLUMN p_id TO parent
