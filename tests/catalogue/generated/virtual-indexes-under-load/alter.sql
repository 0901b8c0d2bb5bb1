-- indexes over virtual columns, rows that change all the while
ADD KEY n2 (c, s), CHANGE a b TINYINT NOT NULL DEFAULT 25 FIRST
