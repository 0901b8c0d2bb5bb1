-- utf16 keeps its bytes
ADD z INT
