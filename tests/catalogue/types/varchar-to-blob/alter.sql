-- text to bytes
MODIFY c BLOB
