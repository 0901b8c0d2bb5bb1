-- a primary key is added beside the unique one
ADD COLUMN id INT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST
