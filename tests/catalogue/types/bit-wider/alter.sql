-- BIT wider
MODIFY c BIT(20)
