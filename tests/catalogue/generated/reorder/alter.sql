-- generated columns move
MODIFY v INT AS (a * 2) VIRTUAL FIRST
