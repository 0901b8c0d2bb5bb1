-- AUTO_INCREMENT on a column with an index of its own
ADD COLUMN z INT
