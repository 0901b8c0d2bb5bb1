-- text that is too long comes with the writes
MODIFY b VARCHAR(8)
