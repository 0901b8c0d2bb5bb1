-- an index with a comment and a type
ADD INDEX f (b) USING BTREE COMMENT 'KEY `no` (x), DROP'
