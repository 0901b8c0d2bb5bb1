-- no primary key, a unique one over NOT NULL
ADD COLUMN z INT
