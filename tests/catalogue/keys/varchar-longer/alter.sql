-- the text key gets longer
MODIFY k VARCHAR(200) COLLATE utf8mb4_general_ci
