-- numbers that are no whole ones become members
MODIFY a ENUM('0.1', '2', '3', '1.5'), MODIFY b SET('1', '2', '4'), MODIFY c ENUM('1', '2', '3')
