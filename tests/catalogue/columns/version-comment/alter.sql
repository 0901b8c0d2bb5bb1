-- a version comment counts as SQL
ADD COLUMN c INT /*!50000 , ADD COLUMN d INT */
