UPDATE t SET b = 'brown dog' WHERE b = 'lazy dog';
INSERT INTO t (b) VALUES ('brown owl');
