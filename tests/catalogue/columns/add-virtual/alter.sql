-- a virtual generated column
ADD COLUMN c INT GENERATED ALWAYS AS (a * 2) VIRTUAL
