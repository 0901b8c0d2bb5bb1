-- names that are words of the grammar
ADD COLUMN `drop` INT, ADD COLUMN `add column x` INT, ADD `a``b` INT
