-- the default charset of the schema does not matter
ADD COLUMN z VARCHAR(10)
