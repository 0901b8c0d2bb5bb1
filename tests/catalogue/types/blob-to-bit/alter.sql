-- long texts that are no numbers become BIT, in strict mode
MODIFY a BIT(8), MODIFY b BIT(64), MODIFY c BIT(64)
