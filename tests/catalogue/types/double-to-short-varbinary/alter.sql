-- a DOUBLE is longer than the text that it becomes, without strict mode
MODIFY n VARBINARY(6) NOT NULL DEFAULT x'00'
