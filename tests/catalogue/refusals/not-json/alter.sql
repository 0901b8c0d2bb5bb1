-- a text that is no JSON
MODIFY b JSON
