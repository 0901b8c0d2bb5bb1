-- a unique key is dropped that the load then breaks later
DROP INDEX u, ADD INDEX u (u)
