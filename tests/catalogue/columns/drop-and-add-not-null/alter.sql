-- dropped and added again as NOT NULL
DROP COLUMN b, ADD COLUMN b VARCHAR(9) NOT NULL DEFAULT 'dflt'
