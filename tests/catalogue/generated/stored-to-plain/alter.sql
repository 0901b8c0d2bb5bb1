-- a stored column becomes a plain one and keeps its values
MODIFY s VARCHAR(30)
