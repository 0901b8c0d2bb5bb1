-- sjis keeps its bytes
ADD z INT
