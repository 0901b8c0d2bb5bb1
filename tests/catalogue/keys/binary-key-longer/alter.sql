-- the BINARY key gets longer
MODIFY k BINARY(4)
