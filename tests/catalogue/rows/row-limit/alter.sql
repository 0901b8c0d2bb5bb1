-- rows at the limit of 65535 bytes
ADD COLUMN z VARCHAR(400) CHARACTER SET latin1
