-- NULL where a TIMESTAMP takes none any more, without strict mode
MODIFY s TIMESTAMP NOT NULL DEFAULT '2020-02-02 02:02:02'
