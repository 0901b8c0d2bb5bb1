-- INT to TINYINT where everything fits
MODIFY c TINYINT
