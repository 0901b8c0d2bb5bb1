-- a comment in four-byte characters
ADD COLUMN c INT COMMENT '😀 grün', COMMENT = 'Tabelle – 表'
