-- the column under a FULLTEXT index changes type and charset
MODIFY b MEDIUMTEXT CHARACTER SET latin1
