-- VARCHAR over the limit of one length byte
MODIFY c VARCHAR(300)
