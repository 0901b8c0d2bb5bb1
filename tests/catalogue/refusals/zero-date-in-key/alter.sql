-- a zero date in the key, under strict mode, and an ALTER that looks at every row again
ADD CONSTRAINT c CHECK (a <> 7)
