-- VECTOR gets more room
MODIFY c VECTOR(8)
