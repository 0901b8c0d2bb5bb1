-- names outside of ASCII
RENAME COLUMN b TO `größe`, CHANGE a `列` INT
