-- text that is too long
MODIFY b VARCHAR(3)
