-- utf8mb4 to latin1 where everything fits
MODIFY c VARCHAR(20) CHARACTER SET latin1
