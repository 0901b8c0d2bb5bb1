-- bytes with zeros at the end
MODIFY c VARBINARY(30)
