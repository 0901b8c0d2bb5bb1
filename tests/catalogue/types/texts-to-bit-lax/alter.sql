-- texts of any kind become BIT without strict mode
MODIFY a BIT(8), MODIFY b BIT(8), MODIFY c BIT(8), MODIFY d BIT(8)
