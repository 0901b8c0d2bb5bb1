-- texts that say numbers become BIT
MODIFY a BIT(64), MODIFY b BIT(8), MODIFY c BIT(8), MODIFY d BIT(8)
