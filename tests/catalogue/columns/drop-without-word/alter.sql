-- DROP without COLUMN
DROP b
