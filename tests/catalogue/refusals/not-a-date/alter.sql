-- a text that is no date
MODIFY b DATE
