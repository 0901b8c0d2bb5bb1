-- The engine's own account, with exactly what it needs.
CREATE USER 'tidegate'@'%' IDENTIFIED BY 'engine-pw';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, TRIGGER, REFERENCES, CREATE VIEW,
    SHOW VIEW, EXECUTE, CREATE TEMPORARY TABLES, PROCESS, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, EVENT
    ON *.* TO 'tidegate'@'%';
GRANT CONNECTION_ADMIN ON *.* TO 'tidegate'@'%';

-- Something to migrate.
CREATE TABLE shop.orders (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id INT NOT NULL,
    amount DECIMAL(10,2) NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'new',
    created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);
SET SESSION cte_max_recursion_depth = 200000;
INSERT INTO shop.orders (customer_id, amount)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
SELECT n % 5000, n / 7 FROM numbers;
