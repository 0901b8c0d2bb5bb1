CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40));
CREATE TABLE log (n INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(100));
INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c'), (4, 4, 'd'), (5, NULL, NULL);
CREATE TRIGGER tr AFTER UPDATE ON t FOR EACH ROW
BEGIN
  DECLARE x INT DEFAULT 0;
  -- a comment; with 'quotes
  IF NEW.a <> OLD.a THEN
    SET x = NEW.a - OLD.a;
    INSERT INTO log (what) VALUES (CONCAT('delta ', x, ' ü😀'));
  END IF;
END;
