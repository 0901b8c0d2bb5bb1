-- the ENUM of the key changes its order
MODIFY k ENUM('d','c','b','a')
