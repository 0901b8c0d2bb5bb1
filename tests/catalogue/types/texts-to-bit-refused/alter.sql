-- a text that says no number becomes BIT
MODIFY a BIT(8)
