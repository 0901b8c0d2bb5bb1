-- a column that does not fit any more
ADD COLUMN z VARCHAR(2000) CHARACTER SET latin1
