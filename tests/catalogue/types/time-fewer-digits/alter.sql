-- TIME(6) to TIME: rounded
MODIFY c TIME
