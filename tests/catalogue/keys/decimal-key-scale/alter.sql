-- the DECIMAL key gets more digits
MODIFY k DECIMAL(12,4)
