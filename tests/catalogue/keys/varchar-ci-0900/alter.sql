-- the key is text in utf8mb4_0900_ai_ci
ADD COLUMN z INT
