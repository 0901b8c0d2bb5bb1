-- nothing changes
COMMENT = ''
