-- columns whose names hold everything
RENAME COLUMN `a.b` TO `c.d`, ADD COLUMN `(` INT
