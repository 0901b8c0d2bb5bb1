-- numbers, dates and times become BIT
MODIFY a BIT(64), MODIFY b BIT(64), MODIFY c BIT(64), MODIFY d BIT(64), MODIFY e BIT(64), MODIFY f BIT(64), MODIFY g BIT(64)
