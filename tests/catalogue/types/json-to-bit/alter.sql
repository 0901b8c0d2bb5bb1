-- JSON numbers become BIT
MODIFY a BIT(8)
