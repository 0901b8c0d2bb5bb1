-- BINARY pads with zero bytes
MODIFY c BINARY(8)
