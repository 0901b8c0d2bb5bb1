-- text cut off, without strict mode
MODIFY c VARCHAR(3)
