-- texts of all sorts become whole numbers, without strict mode
MODIFY a INT, MODIFY b BIGINT, MODIFY c TINYINT UNSIGNED, MODIFY d MEDIUMINT, MODIFY e SMALLINT
