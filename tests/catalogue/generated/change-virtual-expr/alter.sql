-- another expression of a virtual column
MODIFY v INT AS (a * 3) VIRTUAL
