-- a rename inside a version comment
/*!50000 RENAME COLUMN b TO bb */
