CREATE TABLE t (k ENUM('', 'b', 'c') NOT NULL, n DECIMAL(8,2) NOT NULL, v INT, PRIMARY KEY (k, n DESC), KEY other (n DESC, k));
INSERT IGNORE INTO t VALUES ('no such', 1, 10), ('', 1, 11), ('b', 1, 12), ('no such', 2, 20), ('', 2, 21), ('c', 2, 22), ('no such', 3, 30), ('', 3, 31), ('b', 4, 40), ('no such', 5, 50),
  ('', 6, 60), ('no such', 7, 70), ('', 7, 71);
