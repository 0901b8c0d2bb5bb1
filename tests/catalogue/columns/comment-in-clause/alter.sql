-- SQL comments between the words
ADD /* DROP b */ COLUMN c INT -- , DROP a
, DROP # b
 a
