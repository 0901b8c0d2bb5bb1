-- gbk keeps its bytes
ADD z INT
