SELECT id FROM t WHERE MATCH (b) AGAINST ('changed newer again eleven' IN BOOLEAN MODE) ORDER BY id;
